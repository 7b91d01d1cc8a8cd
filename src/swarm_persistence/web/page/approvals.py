"""The tasks that wait for a person's decision: ready ones, of types that no live worker handles."""

from litestar import Response, get
from litestar.di import NamedDependency

from swarm_persistence import Storage, TaskModel
from swarm_persistence.storage.recovery import HEARTBEAT_TIMEOUT_SECONDS
from swarm_persistence.storage.undecided_tasks import ready_tasks_of
from swarm_persistence.web.access import Visit
from swarm_persistence.web.page.remembered import remembered_of
from swarm_persistence.web.page.rendering import render
from swarm_persistence.worker.unhandled_types import unhandled_types

_MOST_TASKS = 50


@get("/approvals", include_in_schema=False)
async def approvals(storage: NamedDependency[Storage], visit: NamedDependency[Visit]) -> Response[str]:
    """List what waits for a decision, the most urgent first."""
    waiting = await remembered_of(storage).get("waiting", storage.get_waiting_tasks)
    types = await unhandled_types(storage, (each.task_type for each in waiting.value), HEARTBEAT_TIMEOUT_SECONDS)
    tasks = await ready_tasks_of(storage, sorted(types), _MOST_TASKS)
    dependents = {task.id: await storage.get_waiting_dependents(task.id, 4) for task in tasks}
    return render(
        visit,
        "approvals.html",
        again_in=max(waiting.newer_in, 5.0),
        tasks=tasks,
        dependents=dependents,
        count=sum(each.count for each in waiting.value if each.task_type in types),
    )


async def waits_for_decision(storage: Storage, task: TaskModel) -> bool:
    """Tell whether a pending task, whose dependencies are completed, is of a type that no live worker handles."""
    return task.task_type in await unhandled_types(storage, (task.task_type,), HEARTBEAT_TIMEOUT_SECONDS)
