"""Refuses ids of a task and an agent that were given in the wrong order."""

from swarm_persistence.engines.interface import Executor
from swarm_persistence.engines.reads import Count, Values
from swarm_persistence.errors import InvalidQueryError
from swarm_persistence.query.query import Query, one_of
from swarm_persistence.schema.tables import AGENTS, TASKS
from swarm_persistence.storage.core import by_id


async def refuse_swapped_ids(executor: Executor, task_id: str, agent_id: str) -> None:
    """Raise `InvalidQueryError` if the task is not stored, and its id is an agent's or the agent's id is a task's."""
    given = Query(TASKS, (one_of("id", [task_id, agent_id]),))
    tasks = {id for (id,) in await executor.read(Values(given, ("id",)))}
    if task_id in tasks:
        return
    if agent_id in tasks:
        raise InvalidQueryError(f"agent_id is {agent_id!r}, the id of a task; expected a task's id, then an agent's")
    if await executor.read(Count(by_id(AGENTS, task_id))):
        raise InvalidQueryError(f"task_id is {task_id!r}, the id of an agent; expected a task's id, then an agent's")
