"""Writes tasks that depend on others, or that others may depend on: without a cycle, and none waits in vain."""

from collections.abc import Sequence
from typing import Any

from swarm_persistence.engines.reads import Values
from swarm_persistence.engines.steps import IfNone, LockRows, Step
from swarm_persistence.models import TaskModel, TaskStatus
from swarm_persistence.query.query import Query, one_of
from swarm_persistence.query.task_statuses import IS_UNSUCCESSFUL, UNSUCCESSFUL
from swarm_persistence.schema.tables import TASKS
from swarm_persistence.storage.core import StorageCore
from swarm_persistence.storage.dependencies import dependencies_of, id_of, refuse_cycles_with_stored, waiting_for
from swarm_persistence.storage.failures import fail_dependents
from swarm_persistence.storage.new_tasks import dependencies_of_any


async def write_unless_awaited(
    core: StorageCore, hold: LockRows, steps: Sequence[Step], tasks: Sequence[TaskModel]
) -> list[Any] | None:
    """Write tasks in one go if none is waited for yet, and none would wait in vain; else return `None`.

    So it is with most of them: then there can be no cycle, and no task to fail.
    """
    links = waiting_for([id_of(task) for task in tasks])
    dependencies = dependencies_of_any(tasks)
    is_vain = Query(TASKS, (one_of("id", dependencies or ("",)), IS_UNSUCCESSFUL))
    # One that is written here is not stored yet, where the query would find it.
    if any(task.status in UNSUCCESSFUL and id_of(task) in dependencies for task in tasks):
        return None
    _, results = await core._executor().write([hold, IfNone(links, (IfNone(is_vain, tuple(steps)),))])
    return None if results is None or results[0] is None else list(results[0])


async def write_among_others(core: StorageCore, steps: Sequence[Step], tasks: Sequence[TaskModel]) -> list[Any]:
    """Write tasks that are held already, unless that closes a cycle; fail those that wait in vain.

    Returns the results of the steps.
    """
    await refuse_cycles_with_stored(core._executor(), tasks)
    results = await core._executor().write(steps)
    await fail_dependents_of_any(core, (*map(id_of, tasks), *dependencies_of_any(tasks)))
    if any(results):  # a stale copy, of which nothing was written, is not told what the stored one is
        await show_failures(core, tasks)
    return results


async def fail_dependents_of_any(core: StorageCore, ids: Sequence[str]) -> None:
    """Fail the tasks that wait for one of these that has failed or is cancelled."""
    failed_ones = Query(TASKS, (one_of("id", ids), IS_UNSUCCESSFUL))
    rows: list[Any] = await core._executor().read(Values(failed_ones, ("id", "status", "error")))
    for id, status, error in rows:
        await fail_dependents(core._executor(), id, _reason(status, error))


async def show_failures(core: StorageCore, tasks: Sequence[TaskModel]) -> None:
    """Show in the caller's objects which tasks have failed at once; the write itself still counts a version."""
    for task in tasks:
        if task.status is TaskStatus.PENDING and dependencies_of(task):
            stored = await core._get(TASKS, task.id)
            if stored is not None and stored.status is TaskStatus.FAILED:
                fields = ("status", "error", "completed_at", "updated_at")
                values = {field: getattr(stored, field) for field in fields}
                core._tell(task, version=stored.version - 1, **values)


def _reason(status: str, error: str | None) -> str:
    if status == TaskStatus.CANCELLED.value:
        return "was cancelled"
    return f"failed: {error}" if error else "failed"
