"""The tools that record a person's decision on a task."""

from typing import Annotated, Any

from msgspec import Meta

from swarm_persistence import Storage
from swarm_persistence.mcp.shown import status_of
from swarm_persistence.mcp.tools.parameters import TaskId

By = Annotated[str, Meta(description="The name of the person who has decided.")]
Comment = Annotated[str | None, Meta(description="The reason that the person has given.")]


async def approve_task(storage: Storage, *, task_id: TaskId, by: By, comment: Comment = None) -> dict[str, Any]:
    """Record that a person approves a pending task that waits for a decision. Never decide by yourself."""
    return status_of(await storage.approve_task(task_id, by, comment))


async def reject_task(storage: Storage, *, task_id: TaskId, by: By, comment: Comment = None) -> dict[str, Any]:
    """Record that a person rejects a pending task that waits for a decision. Tasks that depend on it fail, too."""
    return status_of(await storage.reject_task(task_id, by, comment))
