"""Writes tasks with dependencies or dependents: refuses cycles, and fails tasks whose dependency has failed."""

from collections.abc import Sequence
from typing import Any

from swarm_persistence.engines.interface import Executor
from swarm_persistence.engines.reads import Values
from swarm_persistence.engines.steps import IfChanged, IfNone, Insert, LockRows, Step
from swarm_persistence.errors import DependencyCycleError
from swarm_persistence.models import TaskModel, TaskStatus
from swarm_persistence.query.query import Query, one_of
from swarm_persistence.query.task_statuses import IS_UNSUCCESSFUL, UNSUCCESSFUL
from swarm_persistence.schema.tables import TASKS
from swarm_persistence.schema.values import text
from swarm_persistence.storage.core import StorageCore, id_of
from swarm_persistence.storage.dependencies import (
    dependencies_of,
    refuse_cycle,
    refuse_cycles_with_stored,
    steps_after_storing,
    waiting_for,
)
from swarm_persistence.storage.failures import fail_dependents


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


def may_be_linked(task: TaskModel) -> bool:
    """Tell whether a task has dependencies, or its dependents may have to fail."""
    # To hash an enum's member takes longer than to compare it, and most new tasks are pending.
    return bool(dependencies_of(task)) or (task.status is not TaskStatus.PENDING and task.status in UNSUCCESSFUL)


def linked_among(inserts: Sequence[Insert[Any]]) -> list[TaskModel]:
    """Return the tasks among these inserts that may be linked."""
    return [step.model for step in inserts if isinstance(step.model, TaskModel) and may_be_linked(step.model)]


def dependencies_of_any(tasks: Sequence[TaskModel]) -> tuple[str, ...]:
    """Return the distinct ids of the tasks' dependencies."""
    return tuple(dict.fromkeys(id for task in tasks for id in dependencies_of(task)))


def is_plain_task(step: Insert[Any]) -> bool:
    """Tell whether a step inserts a task without an idempotency key."""
    return isinstance(step.model, TaskModel) and step.unless is None


def is_keyed_task(step: Insert[Any]) -> bool:
    """Tell whether a step inserts a task with an idempotency key, which may be stored already."""
    return isinstance(step.model, TaskModel) and step.unless is not None


def steps_to_store(inserts: Sequence[Insert[Any]]) -> list[Step]:
    """Return the inserts in their order, then the steps that link the tasks among them."""
    # A duplicate must not link the stored task of its key to its own dependencies.
    written: list[Step] = [
        IfChanged(step, tuple(steps_after_storing([step.model]))) if is_keyed_task(step) else step for step in inserts
    ]
    return [*written, *steps_after_storing([step.model for step in inserts if is_plain_task(step)])]


def may_close_cycle(inserts: Sequence[Insert[Any]], tasks: Sequence[TaskModel]) -> bool:
    """Tell whether the tasks form a cycle if all of them are stored, though some may be duplicates.

    Raises `DependencyCycleError` if none of them can be a duplicate.
    """
    graph: dict[str, list[str]] = {}
    for task in tasks:
        graph.setdefault(id_of(task), []).extend(dependencies_of(task))
    try:
        refuse_cycle(graph)
    except DependencyCycleError:
        if any(map(is_keyed_task, inserts)):
            return True
        raise
    return False


async def places_of_duplicates(executor: Executor, inserts: Sequence[Insert[Any]]) -> set[int]:
    """Return the indexes of the tasks whose key is stored already, or occurs earlier among these."""
    keys = {
        place: text(step.model.idempotency_key, "task.idempotency_key")
        for place, step in enumerate(inserts)
        if is_keyed_task(step)
    }
    if not keys:
        return set()
    stored = Query(TASKS, (one_of("idempotency_key", [*dict.fromkeys(keys.values())]),))
    known = {key for (key,) in await executor.read(Values(stored, ("idempotency_key",)))}
    duplicates = set()
    for place, key in keys.items():
        if key in known:
            duplicates.add(place)
        known.add(key)
    return duplicates
