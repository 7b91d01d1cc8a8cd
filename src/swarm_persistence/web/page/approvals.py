"""The tasks that wait for a person's decision: ready ones, of types that no live worker handles."""

from collections.abc import Iterable

from litestar import Response, get

from swarm_persistence import Storage
from swarm_persistence.storage.overview import ready_tasks_of
from swarm_persistence.storage.recovery import HEARTBEAT_TIMEOUT_SECONDS
from swarm_persistence.web.dependencies import InjectedStorage, InjectedVisit
from swarm_persistence.web.page.cache import cache_of
from swarm_persistence.web.page.rendering import render
from swarm_persistence.worker.unhandled_types import unhandled_types

_MOST_TASKS = 50


@get("/approvals", include_in_schema=False)
async def approvals(storage: InjectedStorage, visit: InjectedVisit) -> Response[str]:
    """List what waits for a decision, the most urgent first."""
    cache = cache_of(storage)
    waiting = await cache.get("waiting", storage.get_waiting_tasks)
    types = await types_to_decide(storage, (each.task_type for each in waiting.value))
    ready = await cache.get(
        ("to decide", frozenset(types)), lambda: ready_tasks_of(storage, sorted(types), _MOST_TASKS)
    )
    tasks = ready.value
    dependents = {task.id: await storage.get_waiting_dependents(task.id, 4) for task in tasks}
    return render(
        visit,
        "approvals.html",
        again_in=max(waiting.newer_in, ready.newer_in) or 5.0,
        tasks=tasks,
        dependents=dependents,
        count=sum(each.count for each in waiting.value if each.task_type in types),
    )


async def types_to_decide(storage: Storage, task_types: Iterable[str]) -> set[str]:
    """Return those of these types that no live worker handles; cached, as it reads all agents."""
    types = frozenset(task_types)
    found = await cache_of(storage).get(
        ("unhandled", types), lambda: unhandled_types(storage, types, HEARTBEAT_TIMEOUT_SECONDS)
    )
    return found.value
