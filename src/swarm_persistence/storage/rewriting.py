"""Replaces stored records, and for a task also the links to its dependencies."""

from typing import Any, NoReturn

from swarm_persistence.engines.reads import Count
from swarm_persistence.engines.steps import IfChanged, Replace, Save, Step
from swarm_persistence.errors import ConflictError, NotFoundError
from swarm_persistence.models import TaskModel, TaskStatus
from swarm_persistence.models.trace_parents import checked_trace_parent
from swarm_persistence.query.query import Condition, Query
from swarm_persistence.schema.tables import TASKS, M, Table
from swarm_persistence.schema.values import accept_texts
from swarm_persistence.storage.core import StorageCore, id_of
from swarm_persistence.storage.dependencies import (
    IS_COMPLETED,
    dependencies_of,
    lock_to_link,
    refuse_cycle,
    refuse_cycles_with_stored,
    steps_after_replacing,
    steps_to_wait_again,
)
from swarm_persistence.storage.linked_tasks import (
    fail_dependents_of_any,
    may_be_linked,
    show_failures,
    write_among_others,
    write_unless_awaited,
)
from swarm_persistence.storage.schedule_times import plan


async def save(core: StorageCore, table: Table[M], model: M) -> None:
    """Store a record, or replace the stored one of its id and version."""
    core._require_model(table, model)
    accept_texts(table, model)
    if isinstance(model, TaskModel):
        checked_trace_parent(model.trace_parent)
    plan(model)
    if not await _write(core, Save(model)):
        await _refuse_stale(core, table, model)
    _note_rewritten(core, table, model)


async def update(
    core: StorageCore, table: Table[M], model: M, is_forced: bool = False, *, trace_parent: str | None = None
) -> None:
    """Replace the stored record of this id, and of this version unless it is forced.

    A task's stored `trace_parent` is accepted unchanged, even if malformed, as earlier releases stored such.
    """
    core._require_model(table, model)
    accept_texts(table, model)
    if isinstance(model, TaskModel) and model.trace_parent != trace_parent:
        checked_trace_parent(model.trace_parent)
    plan(model)
    version = await _write(core, Replace(model, is_forced))
    if version is None:
        await _refuse_stale(core, table, model)
    _note_rewritten(core, table, model, version)


async def _write(core: StorageCore, step: Save[Any] | Replace[Any]) -> Any:
    if isinstance(step.model, TaskModel):
        return await _rewrite_task(core, step, step.model)
    return await core._write_one(step)


async def _refuse_stale(core: StorageCore, table: Table[M], model: M) -> NoReturn:
    stored: Any = await core._get(table, model.id)
    name = f"{table.label} {model.id!r}"
    if stored is None:
        raise NotFoundError(f"{name}; store it first")
    raise ConflictError(
        f"{name} has changed since it was read: version {stored.version} is stored, "
        f"and the copy to write has {getattr(model, 'version', None)}; read it again"
    )


def _note_rewritten(core: StorageCore, table: Table[Any], model: Any, version: int | None = None) -> None:
    if table.is_versioned:
        core._set_fields(model, version=model.version + 1 if version is None else version)


async def _rewrite_task(core: StorageCore, step: Save[Any] | Replace[Any], task: TaskModel) -> Any:
    whole = IfChanged(step, steps_after_replacing(task))
    version = task.version
    if may_be_linked(task):
        refuse_cycle({id_of(task): dependencies_of(task)})
        result = await _write_linked(core, whole, task)
    else:
        result = await core._write_one(whole)
    if not result and task.status is not TaskStatus.COMPLETED:
        result = await _reopen(core, step, task) or result
    # A task that failed at once was written twice.
    return result if task.version == version or isinstance(step, Save) else task.version + 1


async def _write_linked(core: StorageCore, whole: Step, task: TaskModel) -> Any:
    lock = lock_to_link([task])

    async def write() -> list[Any]:
        await core._executor().write([lock])
        return await write_among_others(core, [whole], [task])

    results = await write_unless_awaited(core, lock, [whole], [task])
    return (await core._as_one(write) if results is None else results)[0]


async def _reopen(core: StorageCore, step: Save[Any] | Replace[Any], task: TaskModel) -> Any:
    """Rewrite a completed task as one that is not completed: its dependents wait for it again."""
    is_forced = isinstance(step, Replace) and step.is_forced
    is_same = () if is_forced else (Condition("version", "=", task.version),)
    id = id_of(task)
    completed = Query(TASKS, (Condition("id", "=", id), IS_COMPLETED, *is_same))
    if not await core._executor().read(Count(completed)):
        return None

    replacement = IfChanged(Replace(task, is_forced, may_lose_sticky=True), steps_after_replacing(task))

    async def write() -> Any:
        result = (await core._executor().write([lock_to_link([task]), replacement]))[-1]
        if result:
            await core._executor().write(await steps_to_wait_again(core._executor(), id))
            await refuse_cycles_with_stored(core._executor(), [task])
            await fail_dependents_of_any(core, (id, *dependencies_of(task)))
            await show_failures(core, [task])
        return result

    return await core._as_one(write)
