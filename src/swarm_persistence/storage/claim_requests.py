"""What a claim asks for, and the steps that make it."""

from collections.abc import Iterable
from datetime import timedelta
from functools import lru_cache
from typing import Any, NamedTuple

from swarm_persistence.durations import seconds
from swarm_persistence.engines.prepared import PreparedWrite
from swarm_persistence.engines.steps import Change, Claim, Increment, Step, Upkeep
from swarm_persistence.models import TaskStatus
from swarm_persistence.query.query import Condition, FromNow, Order, Query, one_of
from swarm_persistence.schema.tables import IS_DELAYED, TASKS
from swarm_persistence.schema.values import identifier
from swarm_persistence.storage.arguments import texts
from swarm_persistence.storage.core import NOW, TOUCHED
from swarm_persistence.storage.task_limits import ANY_LIMIT
from swarm_persistence.storage.tasks import IS_DUE, IS_PENDING, IS_READY, MOST_URGENT_FIRST

LEASE_SECONDS = 60.0
"""The default lease of a claim of the next task."""

MOST_MARKED = 500
"""How many due tasks one claim marks as ready: marking a hundred thousand would delay the claim."""

BY_CAPABILITIES = Order("required_capabilities", is_of_beginning=True)
EXCEPTIONS: tuple[Query[Any], ...] = (
    ANY_LIMIT,
    Query(TASKS, (*IS_READY, Condition("required_capabilities", "IS NOT NULL")), (BY_CAPABILITIES,), 1),
)
"""The queries of which any match means that the first task of the queue may not be the one to claim."""
ANY_LIMITS: tuple[Query[Any], ...] = (ANY_LIMIT,)

LET_DUE_BE_READY = Upkeep(Query(TASKS, IS_DUE, (Order("run_at"),), MOST_MARKED), {IS_DELAYED: 0})

_CLAIMS_KEPT = 256


class ClaimRequest(NamedTuple):
    """Which tasks a claim asks for, how many at most, and how it changes them."""

    agent_id: str = ""
    """Empty for a watch, which claims nothing."""
    lease: FromNow | None = None
    types: tuple[str, ...] | None = None
    limit: int = 1
    """0 if no task can match."""
    capabilities: tuple[str, ...] | None = None
    """The capabilities of the agent; `None` for the registered ones."""
    ageing: float | None = None
    """A waiting task counts as one priority higher for each such period, in seconds."""
    is_running: bool = False
    """Whether the caller starts all of them at once."""


def checked_request(
    agent_id: str,
    task_types: Iterable[str] | None = None,
    capabilities: Iterable[str] | None = None,
    *,
    limit: int = 1,
    lease: float | timedelta | None = None,
    ageing: float | timedelta | None = None,
    is_running: bool = False,
) -> ClaimRequest:
    """Validate the arguments of a claim, except `limit`, and return its request."""
    agent = identifier(agent_id, "task.assigned_to")
    held_for = None if lease is None else FromNow(seconds(lease, "lease"))
    types = None if task_types is None else texts(task_types, "task_types")
    return ClaimRequest(
        agent,
        held_for,
        types,
        0 if types == () else limit,
        None if capabilities is None else texts(capabilities, "capabilities"),
        None if ageing is None else seconds(ageing, "ageing"),
        bool(is_running),
    )


def of_types(types: tuple[str, ...] | None) -> tuple[Condition, ...]:
    """Return the conditions for a task's type."""
    return () if types is None else (one_of("task_type", types),)


def claimed_by(agent_id: str, lease: FromNow | None, *, is_running: bool = False) -> dict[str, Change]:
    """Return the changes that claim a task."""
    return {
        "status": (TaskStatus.RUNNING if is_running else TaskStatus.ASSIGNED).value,
        "assigned_to": agent_id,
        "lease_expires_at": lease,
        "claim_count": Increment(),
        **TOUCHED,
    }


def started_by(agent_id: str, lease: FromNow | None, *, is_running: bool) -> dict[str, Change]:
    """Return the changes that claim a next task."""
    return {**claimed_by(agent_id, lease, is_running=is_running), "started_at": NOW}


@PreparedWrite
def claiming_by_id(id: str, agent_id: str, lease: FromNow | None) -> list[Step]:
    return [
        Claim(Query(TASKS, (Condition("id", "=", id), IS_PENDING), limit=1), claimed_by(agent_id, lease), ANY_LIMITS)
    ]


@lru_cache(_CLAIMS_KEPT)
def claiming_ready(
    types: tuple[str, ...] | None, limit: int, is_running: bool, others: tuple[Condition, ...] = ()
) -> PreparedWrite:
    """Return the claim of the next tasks that match other conditions, of an agent and for a lease."""
    ready = Query(TASKS, (*IS_READY, *of_types(types), *others), MOST_URGENT_FIRST, limit)
    return PreparedWrite(
        lambda agent_id, lease: [
            LET_DUE_BE_READY,
            Claim(ready, started_by(agent_id, lease, is_running=is_running), EXCEPTIONS),
        ]
    )
