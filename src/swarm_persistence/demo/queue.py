"""Finds a worker its next task: the one place to change once a storage can choose by itself."""

from swarm_persistence.clock import now
from swarm_persistence.demo.vocabulary import TASK_STARTED, TASK_TYPES
from swarm_persistence.models import EventModel, TaskModel, TaskStatus
from swarm_persistence.query.builder import QueryBuilder
from swarm_persistence.storage import Storage

_CANDIDATES = 16
_MOST_URGENT_FIRST = (
    QueryBuilder(TaskModel)
    .where_eq("status", TaskStatus.PENDING)
    .where_in("task_type", TASK_TYPES)
    .order_by("priority", desc=True)
    .order_by("created_at")
)


class Queue:
    """The tasks as one worker sees them. Workers of different positions begin to look at different tasks."""

    def __init__(self, storage: Storage, agent_id: str, position: int) -> None:
        self._storage = storage
        self._agent_id = agent_id
        self._position = position
        self._known_completed: set[str] = set()

    async def start_next_task(self) -> TaskModel | None:
        """Claim the most urgent task that is ready, mark it as running, and return it; `None` if there is none."""
        offset = 0
        while True:
            page = _MOST_URGENT_FIRST.offset(offset).limit(_CANDIDATES)
            candidates = await self._storage.repository(TaskModel).query(page)
            first = self._position % max(len(candidates), 1)
            for task in candidates[first:] + candidates[:first]:
                if await self._is_ready(task) and (started := await self._start(task)):
                    return started
            if len(candidates) < _CANDIDATES:
                return None
            offset += _CANDIDATES

    async def _is_ready(self, task: TaskModel) -> bool:
        needed = set(task.dependencies) - self._known_completed
        if not needed:
            return True
        completed = QueryBuilder(TaskModel).where_in("id", needed).where_eq("status", TaskStatus.COMPLETED)
        if await self._storage.repository(TaskModel).count(completed) < len(needed):
            return False
        self._known_completed |= needed
        return True

    async def _start(self, candidate: TaskModel) -> TaskModel | None:
        async with self._storage.transaction():
            if not await self._storage.claim_task(candidate.id, self._agent_id):
                return None
            task = await self._storage.get_task(candidate.id)
            if task is None:
                return None
            task.status = TaskStatus.RUNNING
            task.started_at = task.updated_at = now()
            await self._storage.update_task(task)
            await self._storage.store_event(
                EventModel.new(TASK_STARTED, {"task_id": task.id}).with_agent(self._agent_id)
            )
        return task
