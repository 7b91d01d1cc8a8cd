"""Fails the dependents of a task that will never be completed, with the cause."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from swarm_persistence.engines.interface import Executor
from swarm_persistence.engines.reads import Values
from swarm_persistence.engines.steps import Update
from swarm_persistence.errors import CollisionError
from swarm_persistence.models import TaskStatus
from swarm_persistence.query.query import Condition, Query, one_of
from swarm_persistence.schema.tables import TASKS
from swarm_persistence.storage.core import NOW, TOUCHED
from swarm_persistence.storage.dependencies import waiting_for
from swarm_persistence.storage.readable import readable_values

_MAY_FAIL = (Condition("status", "=", TaskStatus.PENDING.value), Condition("fails_with_dependencies", "=", 1))
_LONGEST_CAUSE = 500
"""How many characters of the cause each dependent's error has."""


async def fail_dependents(executor: Executor, id: str, reason: str) -> None:
    """Fail the pending tasks that wait, directly or through others, for a task that will never be completed.

    The error of each names its own dependency and the first cause only, since a chain of reasons would grow with every
    task. The executor must be a transaction.
    """
    cause = _shortened(reason)
    level = [id]
    while waiting := await _waiting_behind(executor, level):
        ids = {each for several in waiting.values() for each in several}
        rows = await executor.read(Values(Query(TASKS, (one_of("id", sorted(ids)), *_MAY_FAIL)), ("id",)))
        doomed = _doomed_by(level, waiting, {str(row[0]) for row in rows})
        if not doomed:
            return
        steps = [
            Update(Query(TASKS, (one_of("id", several), *_MAY_FAIL)), failed(_error(dependency, id, cause)))
            for dependency, several in doomed.items()
        ]
        if sum(await executor.write(steps)) < sum(map(len, doomed.values())):
            raise CollisionError("a task was claimed by its id while one that it waits for failed; try again")
        # From now on, a write that stores a dependent of one of these sees its failure; an earlier one may not have.
        over = sorted({*level, *(each for several in doomed.values() for each in several)})
        level = sorted({dependency for task_id, dependency in await _links_to(executor, over) if task_id not in ids})


def failed(error: str) -> dict[str, Any]:
    """Return the changes that fail a task for good."""
    return {
        "status": TaskStatus.FAILED.value,
        "error": error,
        "lease_expires_at": None,
        "completed_at": NOW,
        **TOUCHED,
    }


async def _waiting_behind(executor: Executor, ids: Sequence[str]) -> dict[str, list[str]]:
    """Return the dependents of these tasks and, transitively, of those, by dependency."""
    waiting: dict[str, list[str]] = {}
    seen = set(ids)
    level = list(ids)
    while level:
        links = await _links_to(executor, level)
        for task_id, dependency in links:
            waiting.setdefault(dependency, []).append(task_id)
        level = sorted({task_id for task_id, _ in links} - seen)
        seen.update(level)
    return waiting


async def _links_to(executor: Executor, ids: Sequence[str]) -> list[tuple[str, str]]:
    rows, _ = await readable_values(executor, waiting_for(ids), ("task_id", "dependency_id"))
    return rows


def _doomed_by(ids: Iterable[str], waiting: Mapping[str, Iterable[str]], may_fail: set[str]) -> dict[str, list[str]]:
    """Return the tasks that fail, by dependency; a task with several failed dependencies is under the nearest."""
    doomed: dict[str, list[str]] = {}
    level = sorted(ids)
    while level:
        for dependency in level:
            if several := [each for each in waiting.get(dependency, ()) if each in may_fail]:
                doomed[dependency] = several
                may_fail.difference_update(several)
        level = sorted(each for dependency in level for each in doomed.get(dependency, ()))
    return doomed


def _error(dependency: str, first: str, cause: str) -> str:
    return f"the dependency {dependency!r} " + (cause if dependency == first else f"failed because {first!r} {cause}")


def _shortened(reason: str) -> str:
    if len(reason) <= _LONGEST_CAUSE:
        return reason
    return f"{reason[:_LONGEST_CAUSE]}… ({len(reason):,} characters)"
