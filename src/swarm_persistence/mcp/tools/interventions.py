"""The tools that cancel, retry, release and await tasks, whichever agent holds them, or record a decision on one."""

from typing import Annotated, Any

from msgspec import Meta

from swarm_persistence import Storage, WaitTimeoutError
from swarm_persistence.mcp.shown import shown, status_of
from swarm_persistence.mcp.tools.parameters import Characters, TaskId
from swarm_persistence.storage import interventions

By = Annotated[str, Meta(description="The name of the person who has decided.")]
Comment = Annotated[str | None, Meta(description="The reason that the person has given.")]


async def cancel_task(storage: Storage, *, task_id: TaskId) -> dict[str, Any]:
    """Cancel a task that is not finished. The agent that holds it loses it; tasks that depend on it fail."""
    return status_of(await interventions.cancel(storage, task_id))


async def retry_task(storage: Storage, *, task_id: TaskId) -> dict[str, Any]:
    """Make a finished task pending again, as if it had never run."""
    return status_of(await storage.retry_task(task_id))


async def release_task(
    storage: Storage,
    *,
    task_id: TaskId,
    agent_id: Annotated[
        str | None, Meta(description="Only if this agent holds it, such as you. Default: whichever does.")
    ] = None,
    claim: Annotated[int | None, Meta(description="Only if this claim holds it, by its number.")] = None,
    retry_in_seconds: Annotated[float, Meta(ge=0, description="Not to be claimed before this time has passed.")] = 0,
) -> dict[str, Any]:
    """Give a claimed task back: it is pending again, and counts no retry."""
    task = await interventions.release(
        storage, task_id, agent_id=agent_id, claim_count=claim, retry_in=retry_in_seconds
    )
    return status_of(task)


async def approve_task(storage: Storage, *, task_id: TaskId, by: By, comment: Comment = None) -> dict[str, Any]:
    """Record that a person approves a pending task that waits for a decision. Never decide by yourself."""
    return status_of(await storage.approve_task(task_id, by, comment))


async def reject_task(storage: Storage, *, task_id: TaskId, by: By, comment: Comment = None) -> dict[str, Any]:
    """Record that a person rejects a pending task that waits for a decision. Tasks that depend on it fail, too."""
    return status_of(await storage.reject_task(task_id, by, comment))


async def wait_for_task(
    storage: Storage,
    *,
    task_id: TaskId,
    wait_seconds: Annotated[float, Meta(gt=0, le=50, description="How long to wait.")] = 30,
    max_characters: Characters = 20_000,
) -> dict[str, Any]:
    """Wait until a task is completed, failed or cancelled, and return it with its result."""
    try:
        task = await storage.wait_for_task(task_id, timeout=wait_seconds)
    except WaitTimeoutError:
        return {"task": None, "hint": "it is not finished yet; call it again"}
    hint = f"list_tasks with task_ids=[{task_id!r}] and a larger max_characters"
    return {"task": shown(task, max_characters, hint)}
