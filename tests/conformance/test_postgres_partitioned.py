"""Holds `PostgresStorage` to the facts about history where that is partitioned, and in the third of its periods."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from postgres.conftest import server
from postgres.periods import pass_a_period
from postgres.schemas import Schemas, schemas
from postgres.servers import Server
from swarm_persistence import PostgresStorage, Storage
from swarm_persistence_conformance import FACTS, OpenStorage, clock, storage

# Facts about agents, tasks, documents and schedules, which are not partitioned, and about what does not depend on how
# rows are kept.
LEFT_OUT = {
    "TestAbandonedClaims",
    "TestAbandonedTransactions",
    "TestAgeing",
    "TestAgents",
    "TestAgreement",
    "TestApprovals",
    "TestAwaitedTasks",
    "TestCancellation",
    "TestChangedDependencies",
    "TestClaims",
    "TestConditions",
    "TestCycles",
    "TestDeletedAgents",
    "TestDeletedDependencies",
    "TestDependencies",
    "TestDependencyReads",
    "TestDocumentIndexes",
    "TestDocumentLists",
    "TestDocumentSearch",
    "TestDocuments",
    "TestExpiredDocuments",
    "TestFailedDependencies",
    "TestFilteredTasks",
    "TestFullLimits",
    "TestHeldClaims",
    "TestHostileValues",
    "TestIdempotency",
    "TestLeases",
    "TestLifecycle",
    "TestLike",
    "TestLimits",
    "TestLiveness",
    "TestLostClaims",
    "TestMovedClocks",
    "TestNextClaims",
    "TestOddTimes",
    "TestPoolStatus",
    "TestProgress",
    "TestPrunedDependencies",
    "TestReadyTaskWatches",
    "TestRecovery",
    "TestRefusedArguments",
    "TestRefusedCoordination",
    "TestRefusedFields",
    "TestRequiredCapabilities",
    "TestRetriedTasks",
    "TestRetries",
    "TestRetryControl",
    "TestSchedules",
    "TestSchemas",
    "TestSimultaneousEnds",
    "TestStoredWithDependencies",
    "TestTakeovers",
    "TestTasks",
    "TestThreads",
    "TestTimeBounds",
    "TestVersions",
    "TestWaiting",
    "TestWaitingTasks",
    "TestWatchedTasks",
}

globals().update({name: facts for name, facts in FACTS.items() if name not in LEFT_OUT})

__all__ = ["clock", "schemas", "server", "storage"]


@pytest.fixture
def open_storage(server: Server, schemas: Schemas) -> OpenStorage:
    """Give the way to a fresh storage: a schema of its own, two periods after it was made."""

    @asynccontextmanager
    async def open_storage() -> AsyncIterator[Storage]:
        is_new = not schemas.free
        schema = schemas.take(server.local_url())
        async with await PostgresStorage.open(server.local_url(schema=schema, partition_by="month")) as storage:
            if is_new:
                await _pass_two_periods(storage, server)
            yield storage
        schemas.free.append(schema)

    return open_storage


async def _pass_two_periods(storage: PostgresStorage, server: Server) -> None:
    admin = await asyncpg.connect(server.local_url())
    try:
        for _ in range(2):
            await pass_a_period(storage, admin)
    finally:
        await admin.close()
