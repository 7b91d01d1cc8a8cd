"""The tools by which a person's decision on a task is recorded."""

from typing import Annotated, Any

from msgspec import Meta

from swarm_persistence import Storage, TaskModel
from swarm_persistence.mcp.tools.parameters import TaskId

By = Annotated[str, Meta(description="The name of the person who has decided.")]
Comment = Annotated[str | None, Meta(description="The reason that the person has given.")]


async def approve_task(storage: Storage, *, task_id: TaskId, by: By, comment: Comment = None) -> dict[str, Any]:
    """Record that a person approves a pending task that waits for a decision. Never decide by yourself."""
    return _decided(await storage.approve_task(task_id, by, comment))


async def reject_task(storage: Storage, *, task_id: TaskId, by: By, comment: Comment = None) -> dict[str, Any]:
    """Record that a person rejects a pending task that waits for a decision. Tasks that depend on it fail, too."""
    return _decided(await storage.reject_task(task_id, by, comment))


def _decided(task: TaskModel) -> dict[str, Any]:
    return {"task_id": task.id, "status": task.status.value}
