"""Deletes a task, and fails those that wait for it."""

from swarm_persistence.engines.steps import Delete, IfNone, LockRows, Step
from swarm_persistence.query.query import Condition, Query
from swarm_persistence.schema.tables import TASK_LINKS, TASKS
from swarm_persistence.schema.values import identifier
from swarm_persistence.storage.core import StorageCore, by_id
from swarm_persistence.storage.dependencies import waiting_for
from swarm_persistence.storage.failures import fail_dependents


async def delete_task(core: StorageCore, id: str) -> None:
    """Delete a task, if it is stored; the tasks that wait for it fail as if it had been cancelled."""
    task_id = identifier(id, TASKS.id_field)
    hold = LockRows(TASKS, alone=(task_id,))
    links = Query(TASK_LINKS, (Condition("task_id", "=", task_id),))
    steps: tuple[Step, ...] = (Delete(by_id(TASKS, task_id)), Delete(links))
    _, results = await core._executor().write([hold, IfNone(waiting_for([task_id]), steps)])
    if results is not None:
        return

    async def delete() -> None:
        _, deleted, _ = await core._executor().write([hold, *steps])
        if deleted:
            await fail_dependents(core._executor(), task_id, "was deleted")

    await core._as_one(delete)
