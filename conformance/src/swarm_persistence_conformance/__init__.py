"""The conformance suite: what every storage must do, written once, for any storage to be held to.

To run it on a storage of your own, write one test file with one fixture, `open_storage`. It returns a function; each
call of that gives an async context manager of a fresh, empty storage:

    from contextlib import asynccontextmanager
    from itertools import count

    import pytest

    from mine import MyStorage
    from swarm_persistence_conformance import *

    @pytest.fixture
    def open_storage(tmp_path):
        numbers = count()

        @asynccontextmanager
        async def open_storage():
            async with await MyStorage.open(tmp_path / f"{next(numbers)}.db") as storage:
                yield storage

        return open_storage

pytest finds the classes below by their names: a class per noun, a method per fact. `TestAgreement` compares the storage
with `MemoryStorage`, step by step and query by query; `assert_storages_agree` and `assert_queries_agree` do so for any
two. Where pytest cannot run, as in a browser, `run_suite` runs the same facts in the event loop that is there.
"""
# ruff: noqa: E402 - pytest must be asked to explain the facts' asserts before they are imported.

import pytest

_TOPICS = (
    "abandoned_claims",
    "abandonment",
    "agents",
    "agreement",
    "arguments",
    "batches",
    "cancellation",
    "changed_dependencies",
    "claims",
    "concurrency",
    "concurrency_threads",
    "coordination",
    "coordination_arguments",
    "coordination_trials",
    "copies",
    "cycles",
    "deletions",
    "dependencies",
    "doom",
    "event_log",
    "events",
    "failed_dependencies",
    "foretelling",
    "hostile_values",
    "idempotency",
    "leases",
    "lifecycle",
    "lost_claims",
    "machine",
    "maintenance",
    "message_marks",
    "messages",
    "metrics",
    "next_claims",
    "orders",
    "patterns",
    "pruning",
    "queries",
    "random_queries",
    "recovery",
    "refusals",
    "repetitions",
    "repository",
    "retries",
    "savepoints",
    "simultaneous_ends",
    "schemas",
    "tasks",
    "time_bounds",
    "transactions",
    "trials",
    "values",
    "versions",
    "visibility",
    "waiting",
    "watched_tasks",
    "watching",
)
pytest.register_assert_rewrite(*(f"{__name__}.{topic}" for topic in _TOPICS))

from swarm_persistence_conformance.abandoned_claims import TestAbandonedClaims
from swarm_persistence_conformance.abandonment import TestAbandonedTransactions
from swarm_persistence_conformance.agents import TestAgents
from swarm_persistence_conformance.agreement import TestAgreement
from swarm_persistence_conformance.arguments import TestRefusedArguments
from swarm_persistence_conformance.backups import TestBackups, TestSnapshots
from swarm_persistence_conformance.batches import TestBatches
from swarm_persistence_conformance.cancellation import TestCancellation
from swarm_persistence_conformance.changed_dependencies import TestChangedDependencies
from swarm_persistence_conformance.claims import TestClaims
from swarm_persistence_conformance.concurrency import TestConcurrency
from swarm_persistence_conformance.concurrency_threads import TestThreads
from swarm_persistence_conformance.coordination import assert_tasks_as_foretold
from swarm_persistence_conformance.coordination_arguments import TestRefusedCoordination
from swarm_persistence_conformance.copies import TestCopies
from swarm_persistence_conformance.cycles import TestCycles
from swarm_persistence_conformance.deletions import TestDeletedAgents
from swarm_persistence_conformance.dependencies import TestDependencies
from swarm_persistence_conformance.doom import TestDoom
from swarm_persistence_conformance.event_log import TestClearedEventLog, TestEventLog
from swarm_persistence_conformance.events import TestEvents
from swarm_persistence_conformance.failed_dependencies import TestFailedDependencies, TestStoredWithDependencies
from swarm_persistence_conformance.fixtures import OpenStorage, clock, storage
from swarm_persistence_conformance.hostile_values import TestHostileValues
from swarm_persistence_conformance.idempotency import TestIdempotency
from swarm_persistence_conformance.leases import TestLeases
from swarm_persistence_conformance.lifecycle import TestLifecycle
from swarm_persistence_conformance.lost_claims import TestLostClaims
from swarm_persistence_conformance.machine import assert_storages_agree
from swarm_persistence_conformance.maintenance import TestMaintenance, TestPoolStatus
from swarm_persistence_conformance.message_marks import TestMessageMarks
from swarm_persistence_conformance.messages import TestMessages
from swarm_persistence_conformance.metrics import TestAggregates, TestMetrics, TestMetricSummaries
from swarm_persistence_conformance.next_claims import TestNextClaims
from swarm_persistence_conformance.orders import TestOrders
from swarm_persistence_conformance.patterns import TestLike
from swarm_persistence_conformance.pruning import TestPrunedDependencies, TestPruning, TestPruningAmongOthers
from swarm_persistence_conformance.queries import TestConditions, TestNull
from swarm_persistence_conformance.random_queries import assert_queries_agree
from swarm_persistence_conformance.recovery import TestRecovery
from swarm_persistence_conformance.refusals import TestRefusedFields
from swarm_persistence_conformance.repetitions import TestRunTransaction
from swarm_persistence_conformance.repository import TestRepositories
from swarm_persistence_conformance.retries import TestRetries
from swarm_persistence_conformance.runner import CORE, Outcome, run_suite
from swarm_persistence_conformance.savepoints import TestNestedTransactions
from swarm_persistence_conformance.schemas import TestSchemas
from swarm_persistence_conformance.simultaneous_ends import TestSimultaneousEnds
from swarm_persistence_conformance.tasks import TestTasks
from swarm_persistence_conformance.time_bounds import TestOddTimes, TestTimeBounds
from swarm_persistence_conformance.transactions import TestTransactions
from swarm_persistence_conformance.values import TestValues
from swarm_persistence_conformance.versions import TestVersions
from swarm_persistence_conformance.visibility import TestCallersObjects, TestVisibility
from swarm_persistence_conformance.waiting import TestWaiting
from swarm_persistence_conformance.watched_tasks import TestWatchedTasks
from swarm_persistence_conformance.watching import TestWatching

__all__ = [
    "CORE",
    "OpenStorage",
    "Outcome",
    "TestAbandonedClaims",
    "TestAbandonedTransactions",
    "TestAgents",
    "TestAggregates",
    "TestAgreement",
    "TestBackups",
    "TestBatches",
    "TestCallersObjects",
    "TestCancellation",
    "TestChangedDependencies",
    "TestClaims",
    "TestClearedEventLog",
    "TestConcurrency",
    "TestConditions",
    "TestCopies",
    "TestCycles",
    "TestDeletedAgents",
    "TestDependencies",
    "TestDoom",
    "TestEventLog",
    "TestEvents",
    "TestFailedDependencies",
    "TestHostileValues",
    "TestIdempotency",
    "TestLeases",
    "TestLifecycle",
    "TestLike",
    "TestLostClaims",
    "TestMaintenance",
    "TestMessageMarks",
    "TestMessages",
    "TestMetricSummaries",
    "TestMetrics",
    "TestNestedTransactions",
    "TestNextClaims",
    "TestNull",
    "TestOddTimes",
    "TestOrders",
    "TestPoolStatus",
    "TestPrunedDependencies",
    "TestPruning",
    "TestPruningAmongOthers",
    "TestRecovery",
    "TestRefusedArguments",
    "TestRefusedCoordination",
    "TestRefusedFields",
    "TestRepositories",
    "TestRetries",
    "TestRunTransaction",
    "TestSchemas",
    "TestSimultaneousEnds",
    "TestSnapshots",
    "TestStoredWithDependencies",
    "TestTasks",
    "TestThreads",
    "TestTimeBounds",
    "TestTransactions",
    "TestValues",
    "TestVersions",
    "TestVisibility",
    "TestWaiting",
    "TestWatchedTasks",
    "TestWatching",
    "assert_queries_agree",
    "assert_storages_agree",
    "assert_tasks_as_foretold",
    "clock",
    "run_suite",
    "storage",
]
