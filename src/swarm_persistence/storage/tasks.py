"""The verbs of tasks."""

from swarm_persistence.clock import microseconds, now
from swarm_persistence.engines.interface import Change, Increment, Update
from swarm_persistence.models import TaskModel, TaskStatus
from swarm_persistence.query.query import Condition, Order, Query
from swarm_persistence.schema.tables import TASKS
from swarm_persistence.schema.values import identifier
from swarm_persistence.storage.core import StorageCore, by_id

_IS_PENDING = Condition("status", "=", TaskStatus.PENDING.value)
_MOST_URGENT_FIRST = (Order("priority", is_descending=True), Order("created_at"))


class TaskVerbs(StorageCore):
    """Tasks: store, read, update, list, claim."""

    async def store_task(self, task: TaskModel) -> None:
        """Store a new task, and raise its `version`.

        Raises:
            ConflictError: the id is taken; the stored task is unchanged.
            SerializationError: a field's value cannot be stored; nothing was written.

        """
        await self._store(TASKS, task)

    async def get_task(self, id: str) -> TaskModel | None:
        """Return the task, or `None` if there is none with this id."""
        return await self._get(TASKS, id)

    async def update_task(self, task: TaskModel, *, force: bool = False) -> None:
        """Replace the stored task by this one, and raise its `version`.

        Raises:
            NotFoundError: no task has this id.
            ConflictError: the stored task has changed since this copy was read; `force=True` overwrites it.
            SerializationError: a field's value cannot be stored; nothing was written.

        """
        await self._update(TASKS, task, force)

    async def get_pending_tasks(self) -> list[TaskModel]:
        """Return the tasks that wait for an agent: highest priority first, then oldest."""
        return await self._executor().select(Query(TASKS, (_IS_PENDING,), _MOST_URGENT_FIRST))

    async def get_tasks_by_agent(self, agent_id: str) -> list[TaskModel]:
        """Return the tasks assigned to this agent, newest first."""
        assigned = Condition("assigned_to", "=", identifier(agent_id, "task.assigned_to"))
        return await self._executor().select(Query(TASKS, (assigned,), (Order("created_at", is_descending=True),)))

    async def claim_task(self, task_id: str, agent_id: str) -> bool:
        """Assign the task to the agent if it is pending, and tell whether that happened; atomic.

        Of any number of agents that claim one task, in any number of processes, one gets `True`. A task that does not
        exist gives `False`.
        """
        query = by_id(TASKS, task_id)
        pending = Query(TASKS, (*query.conditions, _IS_PENDING))
        changes: dict[str, Change] = {
            "status": TaskStatus.ASSIGNED.value,
            "assigned_to": identifier(agent_id, "task.assigned_to"),
            "updated_at": microseconds(now()),
            "version": Increment(),
        }
        return bool(await self._write_one(Update(pending, changes)))
