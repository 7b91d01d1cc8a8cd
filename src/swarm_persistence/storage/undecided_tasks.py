"""Finds the tasks that could be claimed or decided now, among those of some types."""

from collections.abc import Collection

from swarm_persistence.engines.reads import Select
from swarm_persistence.models import TaskModel
from swarm_persistence.query.query import Query, one_of
from swarm_persistence.schema.tables import TASKS
from swarm_persistence.storage.storage import Storage
from swarm_persistence.storage.tasks import IS_DUE, IS_MET, IS_PENDING, IS_READY, MOST_URGENT_FIRST


async def ready_tasks_of(storage: Storage, task_types: Collection[str], limit: int) -> list[TaskModel]:
    """Return the ready tasks of these types: first those without a delay, each part by priority, then arrival."""
    if not task_types:
        return []
    is_of_types = one_of("task_type", [*task_types])
    found: dict[str, TaskModel] = {}
    for ready in (IS_READY, (IS_PENDING, IS_MET, *IS_DUE)):
        query: Query[TaskModel] = Query(TASKS, (*ready, is_of_types), MOST_URGENT_FIRST, limit)
        found |= {task.id: task for task in await storage._executor().read(Select(query))}
    return [*found.values()][:limit]
