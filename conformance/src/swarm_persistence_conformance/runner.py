"""Runs the facts in the event loop that is there, without pytest's runner: in a browser, or to try a storage."""

import asyncio
import inspect
import reprlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from functools import partial
from itertools import product
from typing import Any, NamedTuple

from swarm_persistence.testing import ManualClock, use_clock
from swarm_persistence_conformance.abandoned_claims import TestAbandonedClaims
from swarm_persistence_conformance.abandonment import TestAbandonedTransactions
from swarm_persistence_conformance.agents import TestAgents
from swarm_persistence_conformance.arguments import TestRefusedArguments
from swarm_persistence_conformance.backups import TestBackups, TestSnapshots
from swarm_persistence_conformance.batches import TestBatches
from swarm_persistence_conformance.cancellation import TestCancellation
from swarm_persistence_conformance.changed_dependencies import TestChangedDependencies
from swarm_persistence_conformance.claims import TestClaims
from swarm_persistence_conformance.concurrency import TestConcurrency
from swarm_persistence_conformance.coordination_arguments import TestRefusedCoordination
from swarm_persistence_conformance.copies import TestCopies
from swarm_persistence_conformance.cycles import TestCycles
from swarm_persistence_conformance.deletions import TestDeletedAgents
from swarm_persistence_conformance.dependencies import TestDependencies
from swarm_persistence_conformance.doom import TestDoom
from swarm_persistence_conformance.event_log import TestClearedEventLog, TestEventLog
from swarm_persistence_conformance.events import TestEvents
from swarm_persistence_conformance.failed_dependencies import TestFailedDependencies, TestStoredWithDependencies
from swarm_persistence_conformance.fixtures import OpenStorage
from swarm_persistence_conformance.hostile_values import TestHostileValues
from swarm_persistence_conformance.idempotency import TestIdempotency
from swarm_persistence_conformance.leases import TestLeases
from swarm_persistence_conformance.lifecycle import TestLifecycle
from swarm_persistence_conformance.lost_claims import TestLostClaims
from swarm_persistence_conformance.maintenance import TestMaintenance, TestPoolStatus
from swarm_persistence_conformance.message_marks import TestMessageMarks
from swarm_persistence_conformance.messages import TestMessages
from swarm_persistence_conformance.metrics import TestAggregates, TestMetrics, TestMetricSummaries
from swarm_persistence_conformance.next_claims import TestNextClaims
from swarm_persistence_conformance.orders import TestOrders
from swarm_persistence_conformance.patterns import TestLike
from swarm_persistence_conformance.pruning import TestPrunedDependencies, TestPruning, TestPruningAmongOthers
from swarm_persistence_conformance.queries import TestConditions, TestNull
from swarm_persistence_conformance.recovery import TestRecovery
from swarm_persistence_conformance.refusals import TestRefusedFields
from swarm_persistence_conformance.repetitions import TestRunTransaction
from swarm_persistence_conformance.repository import TestRepositories
from swarm_persistence_conformance.retries import TestRetries
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

CORE: tuple[type, ...] = (
    TestAgents,
    TestDeletedAgents,
    TestTasks,
    TestClaims,
    TestNextClaims,
    TestWaiting,
    TestLeases,
    TestLostClaims,
    TestRetries,
    TestDependencies,
    TestCycles,
    TestChangedDependencies,
    TestFailedDependencies,
    TestStoredWithDependencies,
    TestRecovery,
    TestIdempotency,
    TestEventLog,
    TestClearedEventLog,
    TestWatching,
    TestWatchedTasks,
    TestMessageMarks,
    TestVersions,
    TestRefusedCoordination,
    TestEvents,
    TestMessages,
    TestMetrics,
    TestAggregates,
    TestMetricSummaries,
    TestPruning,
    TestPrunedDependencies,
    TestPruningAmongOthers,
    TestBatches,
    TestSimultaneousEnds,
    TestSnapshots,
    TestBackups,
    TestRepositories,
    TestConditions,
    TestNull,
    TestLike,
    TestOrders,
    TestValues,
    TestRefusedFields,
    TestRefusedArguments,
    TestTimeBounds,
    TestOddTimes,
    TestHostileValues,
    TestCopies,
    TestTransactions,
    TestVisibility,
    TestCallersObjects,
    TestNestedTransactions,
    TestRunTransaction,
    TestDoom,
    TestAbandonedTransactions,
    TestConcurrency,
    TestCancellation,
    TestAbandonedClaims,
    TestMaintenance,
    TestPoolStatus,
    TestLifecycle,
    TestSchemas,
)
"""The facts that need nothing but an event loop: all but threads and the comparison by Hypothesis."""


class Outcome(NamedTuple):
    """What became of one fact: no error if it holds."""

    name: str
    error: BaseException | None


async def run_suite(
    open_storage: OpenStorage, facts: Sequence[type] = CORE, patience_seconds: float = 60
) -> AsyncIterator[Outcome]:
    """Try every fact on a fresh storage, one after the other, and yield what became of it; none may take for ever."""
    for cls in facts:
        for name, test in inspect.getmembers(cls, inspect.iscoroutinefunction):
            if name.startswith("test_"):
                call = partial(test, cls())
                for case, arguments in _cases(test):
                    yield Outcome(
                        f"{cls.__name__}.{name}{case}", await _try(call, arguments, open_storage, patience_seconds)
                    )


def _cases(test: Callable[..., Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the combinations of what `pytest.mark.parametrize` gives a test, each with a name."""
    marks = [mark for mark in getattr(test, "pytestmark", []) if mark.name == "parametrize"]
    for chosen in product(*([(mark.args[0], values) for values in mark.args[1]] for mark in marks)):
        arguments: dict[str, Any] = {}
        for names, values in chosen:
            arguments.update({names: values} if isinstance(names, str) else zip(names, values, strict=True))
        shown = ", ".join(f"{name}={_shown(value)}" for name, value in arguments.items())
        yield f"[{shown}]" if arguments else "", arguments


def _shown(value: object) -> str:
    # Not by repr where there is a shorter way: the stack of a browser ends within a value that is nested deeply.
    return str(value) if "__str__" in vars(type(value)) else reprlib.repr(value)


async def _try(
    call: Callable[..., Any], arguments: dict[str, Any], open_storage: OpenStorage, patience_seconds: float
) -> BaseException | None:
    wanted = inspect.signature(call).parameters
    async with AsyncExitStack() as fixtures:
        if "clock" in wanted:
            arguments["clock"] = fixtures.enter_context(use_clock(ManualClock()))
        if "open_storage" in wanted:
            arguments["open_storage"] = open_storage
        if "storage" in wanted:
            arguments["storage"] = await fixtures.enter_async_context(open_storage())
        # A task of its own, so that a transaction left open by a failure ends with it.
        limited = asyncio.wait_for(asyncio.create_task(call(**arguments)), patience_seconds)
        outcomes = await asyncio.gather(limited, return_exceptions=True)
    return outcomes[0] if isinstance(outcomes[0], BaseException) else None
