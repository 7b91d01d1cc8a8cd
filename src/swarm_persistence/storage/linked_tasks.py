"""Writes tasks with dependencies or dependents: refuses cycles, and fails tasks whose dependency has failed."""

from collections.abc import Sequence
from typing import Any

from swarm_persistence.engines.reads import Values
from swarm_persistence.engines.steps import IfNone, LockRows, Step
from swarm_persistence.models import TaskModel, TaskStatus
from swarm_persistence.query.query import Query, one_of
from swarm_persistence.query.task_statuses import IS_UNSUCCESSFUL, UNSUCCESSFUL
from swarm_persistence.schema.tables import TASKS
from swarm_persistence.storage.core import StorageCore, id_of
from swarm_persistence.storage.dependencies import dependencies_of, refuse_cycles_with_stored, waiting_for
from swarm_persistence.storage.failures import fail_dependents
from swarm_persistence.storage.new_tasks import dependencies_of_any


async def write_unless_awaited(
    core: StorageCore, lock: LockRows, steps: Sequence[Step], tasks: Sequence[TaskModel]
) -> list[Any] | None:
    """Write tasks in one write if none has dependents or a failed dependency; else write nothing and return `None`.

    This is the common case: there can be no cycle, and no task has to fail.
    """
    links = waiting_for([id_of(task) for task in tasks])
    dependencies = dependencies_of_any(tasks)
    is_vain = Query(TASKS, (one_of("id", dependencies or ("",)), IS_UNSUCCESSFUL))
    # The query does not find a failed dependency that is among the tasks to write.
    if any(task.status in UNSUCCESSFUL and id_of(task) in dependencies for task in tasks):
        return None
    _, results = await core._executor().write([lock, IfNone(links, (IfNone(is_vain, tuple(steps)),))])
    return None if results is None or results[0] is None else list(results[0])


async def write_among_others(core: StorageCore, steps: Sequence[Step], tasks: Sequence[TaskModel]) -> list[Any]:
    """Write tasks that are already locked, unless that closes a cycle; fail those with a failed dependency.

    Return the results of the steps.
    """
    await refuse_cycles_with_stored(core._executor(), tasks)
    results = await core._executor().write(steps)
    await fail_dependents_of_any(core, (*map(id_of, tasks), *dependencies_of_any(tasks)))
    if any(results):  # nothing was written of a stale copy, so it stays as it is
        await show_failures(core, tasks)
    return results


async def fail_dependents_of_any(core: StorageCore, ids: Sequence[str]) -> None:
    """Fail the dependents of those of these tasks that have failed or were cancelled."""
    failed_ones = Query(TASKS, (one_of("id", ids), IS_UNSUCCESSFUL))
    rows: list[Any] = await core._executor().read(Values(failed_ones, ("id", "status", "error")))
    for id, status, error in rows:
        await fail_dependents(core._executor(), id, _reason(status, error))


async def show_failures(core: StorageCore, tasks: Sequence[TaskModel]) -> None:
    """Update the caller's objects of tasks that failed at once; the version of the write itself is added later."""
    for task in tasks:
        if task.status is TaskStatus.PENDING and dependencies_of(task):
            stored = await core._get(TASKS, task.id)
            if stored is not None and stored.status is TaskStatus.FAILED:
                fields = ("status", "error", "completed_at", "updated_at")
                values = {field: getattr(stored, field) for field in fields}
                core._set_fields(task, version=stored.version - 1, **values)


def _reason(status: str, error: str | None) -> str:
    if status == TaskStatus.CANCELLED.value:
        return "was cancelled"
    return f"failed: {error}" if error else "failed"
