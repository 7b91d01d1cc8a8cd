"""The tools of limits."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from swarm_persistence import Storage, TaskLimit

TaskType = Annotated[str, Meta(description="The type of the tasks.")]


async def list_limits(storage: Storage) -> dict[str, Any]:
    """List which task types are limited: a pending task may wait because too many of its type are claimed."""
    return {"limits": [_shown(limit) for limit in await storage.list_limits()]}


async def set_limit(
    storage: Storage,
    *,
    task_type: TaskType,
    running: Annotated[int | None, Meta(description="How many are claimed at once, at most; 0 is none.")] = None,
    per_key: Annotated[int | None, Meta(description="How many with one concurrency_key, at most.")] = None,
    starts: Annotated[int | None, Meta(description="How many are claimed within per_seconds, at most.")] = None,
    per_seconds: Annotated[float | None, Meta(description="The period of starts.")] = None,
) -> dict[str, Any]:
    """Limit how many tasks of a type are claimed, in place of an earlier limit of it. Every claim observes it."""
    return _shown(await storage.set_limit(task_type, running=running, per_key=per_key, starts=starts, per=per_seconds))


async def delete_limit(storage: Storage, *, task_type: TaskType) -> dict[str, Any]:
    """End the limit of a task type."""
    return {"task_type": task_type, "deleted": await storage.delete_limit(task_type)}


def _shown(limit: TaskLimit) -> dict[str, Any]:
    fields = {name: value for name, value in msgspec.to_builtins(limit).items() if value is not None}
    return {"task_type": fields.pop("id"), **fields}
