"""An operator's changes to a task, whichever agent holds it, and claims of agents outside this process.

Errors state why a change is not possible. Such an agent names a claim by its own id and the claim's number.
"""

from collections.abc import Awaitable, Callable
from datetime import timedelta

import msgspec

from swarm_persistence.errors import ConflictError
from swarm_persistence.models import TaskModel
from swarm_persistence.query.task_statuses import HELD
from swarm_persistence.schema.tables import TASKS
from swarm_persistence.storage.storage import Storage


async def cancel(storage: Storage, id: str) -> TaskModel:
    """Cancel a task, and return it.

    Raises:
        NotFoundError: no task has this id.
        ConflictError: the task is finished.

    """
    is_cancelled = await storage.cancel_task(id)
    task = await storage._existing(TASKS, id)
    if not is_cancelled:
        raise ConflictError(f"task {id!r} is {task.status}; only an unfinished task can be cancelled")
    return task


async def release(
    storage: Storage,
    id: str,
    *,
    agent_id: str | None = None,
    claim_count: int | None = None,
    retry_in: float = 0.0,
) -> TaskModel:
    """Release a task from the agent that holds it, or only from this agent or this claim, and return it.

    Raises:
        NotFoundError: no task has this id.
        ConflictError: no agent holds the task.
        LeaseLostError: the claim of this agent, or of this number, is over.

    """
    task = await storage._existing(TASKS, id)
    if agent_id is None and claim_count is None and task.status not in HELD:
        raise ConflictError(f"task {id!r} is {task.status}; no agent holds it")
    claimed = msgspec.structs.replace(
        task,
        assigned_to=task.assigned_to if agent_id is None else agent_id,
        claim_count=task.claim_count if claim_count is None else claim_count,
    )
    await storage.release_task(claimed, retry_in=retry_in)
    return claimed


async def claim_or_requeue(
    storage: Storage, claim: Callable[..., Awaitable[list[TaskModel]]], wait: float | timedelta
) -> list[TaskModel]:
    """Claim the next ready tasks; if there is none, requeue expired tasks first, then wait for one.

    In a swarm without a Python worker, no other process requeues the tasks of dead agents. `claim` is
    `storage.claim_next_tasks` with all arguments but `wait`.
    """
    tasks = await claim()
    if not tasks:
        await storage.requeue_expired_tasks(heartbeat_timeout=None)
        tasks = await claim(wait=wait)
    return tasks


async def task_as_claimed(storage: Storage, id: str, agent_id: str, claim_count: int) -> TaskModel:
    """Return the task as this claim has it; each write checks whether the claim still holds.

    Raises:
        NotFoundError: no task has this id.

    """
    task = await storage._existing(TASKS, id)
    return msgspec.structs.replace(task, assigned_to=agent_id, claim_count=claim_count)
