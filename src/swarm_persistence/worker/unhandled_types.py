"""Warns of task types that wait and that no live worker handles: a misspelt type waits for ever, without an error."""

import logging
from collections.abc import Iterable
from datetime import timedelta

from swarm_persistence.clock import now
from swarm_persistence.models import AgentModel
from swarm_persistence.storage import Storage
from swarm_persistence.worker.logs import worker_log
from swarm_persistence.worker.registration import GONE, INCARNATION, TASK_TYPES

SETTLING_SECONDS = 2.0
"""How long after its start a worker checks: workers that start together have registered by then."""

_MOST_TYPES = 100

_log = logging.getLogger(__name__)


async def unhandled_types(storage: Storage, task_types: Iterable[str], heartbeat_timeout: float) -> set[str]:
    """Return those of these types that no live registered worker handles.

    A worker of an earlier release does not list its types: while one is live, the result is empty.
    """
    unhandled = set(task_types)
    if not unhandled:
        return unhandled
    earliest = now() - timedelta(seconds=heartbeat_timeout)
    for agent in await storage.list_agents():
        if INCARNATION not in agent.metadata or agent.status in GONE or agent.heartbeat < earliest:
            continue
        handled = _handled_by(agent)
        if handled is None:
            return set()
        unhandled -= handled
    return unhandled


async def warn_of_unhandled_types(
    storage: Storage, agent_id: str, task_types: Iterable[str], heartbeat_timeout: float
) -> None:
    """Log the types of ready tasks that neither this worker nor a live registered one handles."""
    watch = storage.watch_ready_tasks()
    try:
        waiting = set(await watch.types(_MOST_TYPES)) - set(task_types)
    finally:
        watch.close()
    unhandled = await unhandled_types(storage, waiting, heartbeat_timeout)
    if unhandled:
        worker_log(_log, agent_id).warning(
            "tasks of the type(s) %s wait, and no live worker handles them, neither %r nor another that is registered",
            ", ".join(map(repr, sorted(unhandled))),
            agent_id,
        )


def _handled_by(agent: AgentModel) -> set[str] | None:
    """Return the types that a worker handles; `None` if it is of an earlier release, which does not list them."""
    types = agent.metadata.get(TASK_TYPES)
    return {each for each in types if isinstance(each, str)} if isinstance(types, list) else None
