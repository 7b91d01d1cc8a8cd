"""Deletes tasks, and fails those that wait for them."""

from collections.abc import Sequence

from swarm_persistence.engines.reads import Aggregate, AggregateFunction, Values
from swarm_persistence.engines.steps import Delete, IfNone, LockRows, Step
from swarm_persistence.query.query import Condition, Query, one_of
from swarm_persistence.schema.tables import TASK_LINKS, TASKS
from swarm_persistence.schema.values import identifier
from swarm_persistence.storage.core import StorageCore
from swarm_persistence.storage.dependencies import waiting_for
from swarm_persistence.storage.failures import fail_dependents

_COUNT = (AggregateFunction("count"),)


async def delete_task(core: StorageCore, id: str) -> None:
    """Delete a task, if it is stored; the tasks that wait for it fail as if it had been cancelled."""
    await delete_tasks(core, [identifier(id, TASKS.id_field)])


async def delete_tasks(core: StorageCore, ids: Sequence[str], conditions: Sequence[Condition] = ()) -> int:
    """Delete those of these tasks that match the conditions, atomically, and return how many.

    The tasks that wait for one of them, and are not among them, fail as if it had been cancelled.
    """
    lock = LockRows(TASKS, exclusive=tuple(ids))
    tasks, links = Query(TASKS, (one_of("id", ids), *conditions)), Query(TASK_LINKS, (one_of("task_id", ids),))
    # Only links of deleted tasks are deleted: with conditions, that takes a read of the tasks.
    steps: tuple[Step, ...] = (Delete(tasks), Delete(links))
    plain = IfNone(links, (Delete(tasks),)) if conditions else None
    _, results = await core._executor().write([lock, IfNone(waiting_for(ids), steps if plain is None else (plain,))])
    first = None if results is None else results[0]
    if first is not None:
        return int(first[0] if plain is not None else first)

    async def delete() -> int:
        executor = core._executor()
        await executor.write([lock])
        found = [str(row[0]) for row in await executor.read(Values(tasks, ("id",)))]
        if not found:
            return 0
        those, theirs = Query(TASKS, (one_of("id", found),)), Query(TASK_LINKS, (one_of("task_id", found),))
        await executor.write([Delete(those), Delete(theirs)])
        for id, _ in await executor.read(Aggregate(waiting_for(found), ("dependency_id",), _COUNT)):
            await fail_dependents(executor, str(id), "was deleted")
        return len(found)

    return await core._as_one(delete)
