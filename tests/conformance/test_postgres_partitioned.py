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
from swarm_persistence_conformance import (
    OpenStorage,
    TestAggregates,
    TestBackups,
    TestBatches,
    TestCallersObjects,
    TestClearedEventLog,
    TestConcurrency,
    TestCopies,
    TestDoom,
    TestEventLog,
    TestEvents,
    TestIdempotency,
    TestMaintenance,
    TestMessageMarks,
    TestMessages,
    TestMetrics,
    TestMetricSummaries,
    TestNestedTransactions,
    TestNull,
    TestOrders,
    TestPrunedDependencies,
    TestPruning,
    TestPruningAmongOthers,
    TestRepositories,
    TestRunTransaction,
    TestSnapshots,
    TestTransactions,
    TestValues,
    TestVisibility,
    TestWatching,
    clock,
    storage,
)

__all__ = [
    "TestAggregates",
    "TestBackups",
    "TestBatches",
    "TestCallersObjects",
    "TestClearedEventLog",
    "TestConcurrency",
    "TestCopies",
    "TestDoom",
    "TestEventLog",
    "TestEvents",
    "TestIdempotency",
    "TestMaintenance",
    "TestMessageMarks",
    "TestMessages",
    "TestMetricSummaries",
    "TestMetrics",
    "TestNestedTransactions",
    "TestNull",
    "TestOrders",
    "TestPrunedDependencies",
    "TestPruning",
    "TestPruningAmongOthers",
    "TestRepositories",
    "TestRunTransaction",
    "TestSnapshots",
    "TestTransactions",
    "TestValues",
    "TestVisibility",
    "TestWatching",
    "clock",
    "schemas",
    "server",
    "storage",
]


@pytest.fixture
def open_storage(server: Server, schemas: Schemas) -> OpenStorage:
    """Give the way to a fresh storage: a schema of its own, two periods after it was made."""

    @asynccontextmanager
    async def open_storage() -> AsyncIterator[Storage]:
        is_new = not schemas.free
        schema = await schemas.take(server.local_url())
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
