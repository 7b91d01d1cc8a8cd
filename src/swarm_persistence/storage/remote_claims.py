"""Claims of agents outside this process; they name a claim by its agent and its number."""

from collections.abc import Iterable
from datetime import timedelta

import msgspec

from swarm_persistence.models import TaskModel
from swarm_persistence.storage.interventions import existing_task
from swarm_persistence.storage.storage import Storage


async def claim_or_requeue(
    storage: Storage,
    agent_id: str,
    *,
    task_types: Iterable[str] | None = None,
    capabilities: Iterable[str] | None = None,
    lease: float | timedelta,
    ageing: float | timedelta | None = None,
    wait: float | timedelta = 0.0,
) -> TaskModel | None:
    """Claim the next ready task; if there is none, requeue expired tasks first, then wait for one.

    In a swarm without a Python worker, no other process requeues the tasks of dead agents.
    """

    tasks = await claim_several_or_requeue(
        storage,
        agent_id,
        limit=1,
        task_types=task_types,
        capabilities=capabilities,
        lease=lease,
        ageing=ageing,
        wait=wait,
    )
    return tasks[0] if tasks else None


async def claim_several_or_requeue(
    storage: Storage,
    agent_id: str,
    *,
    limit: int,
    task_types: Iterable[str] | None = None,
    capabilities: Iterable[str] | None = None,
    lease: float | timedelta,
    is_running: bool = False,
    ageing: float | timedelta | None = None,
    wait: float | timedelta = 0.0,
) -> list[TaskModel]:
    """Claim up to `limit` next ready tasks in one write; if there is none, as `claim_or_requeue` does."""

    async def claim(wait: float | timedelta) -> list[TaskModel]:
        return await storage.claim_next_tasks(
            agent_id,
            limit=limit,
            task_types=task_types,
            capabilities=capabilities,
            lease=lease,
            is_running=is_running,
            ageing=ageing,
            wait=wait,
        )

    tasks = await claim(0.0)
    if not tasks:
        await storage.requeue_expired_tasks(heartbeat_timeout=None)
        tasks = await claim(wait)
    return tasks


async def task_as_claimed(storage: Storage, id: str, agent_id: str, claim_count: int) -> TaskModel:
    """Return the task as this claim has it; each write checks whether the claim still holds.

    Raises:
        NotFoundError: no task has this id.

    """
    task = await existing_task(storage, id)
    return msgspec.structs.replace(task, assigned_to=agent_id, claim_count=claim_count)
