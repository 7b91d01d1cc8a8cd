"""Makes workers, and waits for what they do by the commits that tell of it."""

import asyncio
from collections.abc import Callable
from typing import Any

from swarm_persistence import Storage, TaskModel, TaskStatus, Worker
from swarm_persistence_conformance.records import a_task, an_agent
from swarm_persistence_conformance.waiting import LIMIT_SECONDS


def a_worker(
    storage: Storage, handlers: dict[str, Callable[..., Any]], name: str = "agent-1", **options: Any
) -> Worker:
    """Return a worker that leaves the signals of the tests' process alone."""
    return Worker(storage, an_agent(name), handlers, **{"heeds_signals": False, **options})


async def store(storage: Storage, *ids: str, **fields: Any) -> None:
    """Store tasks of the type `work`."""
    await storage.store_tasks([a_task(id, **{"task_type": "work", **fields}) for id in ids])


async def once(storage: Storage, is_so: Callable[[TaskModel], bool], *ids: str) -> dict[str, TaskModel]:
    """Wait until a fact holds of each of these tasks, and return them as they were then."""
    found: dict[str, TaskModel] = {}
    async with asyncio.timeout(LIMIT_SECONDS):
        async for task in storage.watch_tasks():
            if task.id in ids and is_so(task):
                found[task.id] = task
            if len(found) == len(ids):
                break
    return found


async def completed(storage: Storage, *ids: str) -> dict[str, TaskModel]:
    """Wait until these tasks are completed, and return them."""
    return await once(storage, lambda task: task.status is TaskStatus.COMPLETED, *ids)


async def soon(event: asyncio.Event) -> None:
    """Wait for an event that must come."""
    async with asyncio.timeout(LIMIT_SECONDS):
        await event.wait()
