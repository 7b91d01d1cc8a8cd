"""Claims of agents outside this process; they name a claim by its agent and its number."""

from collections.abc import Awaitable, Callable
from datetime import timedelta

import msgspec

from swarm_persistence.models import TaskModel
from swarm_persistence.storage.interventions import existing_task
from swarm_persistence.storage.storage import Storage


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
    task = await existing_task(storage, id)
    return msgspec.structs.replace(task, assigned_to=agent_id, claim_count=claim_count)
