"""The verbs that find what dead agents have left: tasks whose lease ran out, and agents without a sign of life."""

import asyncio
from datetime import timedelta
from typing import Any

import msgspec

from swarm_persistence.clock import microseconds, now
from swarm_persistence.engines.interface import Update
from swarm_persistence.errors import NotFoundError
from swarm_persistence.models import AgentStatus
from swarm_persistence.query.query import Condition, FromNow, Order, Query
from swarm_persistence.schema.tables import AGENTS, TASKS
from swarm_persistence.storage.arguments import seconds
from swarm_persistence.storage.core import by_id, touched
from swarm_persistence.storage.failures import failed
from swarm_persistence.storage.leases import UNFINISHED, LeaseVerbs, retried

HEARTBEAT_TIMEOUT_SECONDS = 300.0
"""The age of a heartbeat after which an agent counts as lost, if nobody says otherwise."""

_BATCH = 500
_IS_EXPIRED = (UNFINISHED, Condition("lease_expires_at", "<=", FromNow()))
_ALIVE = ("initializing", "active", "idle", "busy", "paused")


class Recovery(msgspec.Struct, frozen=True):
    """What `requeue_expired_tasks` has done, by ids."""

    requeued: tuple[str, ...]
    """The tasks that are pending again."""
    failed: tuple[str, ...]
    """The tasks that had no retry left, and have failed for good."""
    lost_agents: tuple[str, ...]
    """The agents that are marked as `error` now."""


class RecoveryVerbs(LeaseVerbs):
    """Recovery: heartbeats, and what to do without them."""

    async def heartbeat(self, agent_id: str) -> None:
        """Record a sign of life of the agent.

        Raises:
            NotFoundError: no agent has this id.

        """
        changes = {"heartbeat": FromNow(), **touched(microseconds(now()))}
        if not await self._write_one(Update(by_id(AGENTS, agent_id), changes)):
            raise NotFoundError(f"agent {agent_id!r}")

    async def requeue_expired_tasks(
        self, *, heartbeat_timeout: float | timedelta | None = HEARTBEAT_TIMEOUT_SECONDS
    ) -> Recovery:
        """Give back the tasks whose lease ran out, and mark the agents whose heartbeat is too old as `error`.

        Each task counts a retry; one without any left fails for good, with that reason. Any number of workers may call
        this at any time: each task is given back once. `None` leaves the agents alone. A row that cannot be read holds
        nobody up: it is given back as well.
        """
        timeout = None if heartbeat_timeout is None else seconds(heartbeat_timeout, "heartbeat_timeout")
        requeued: list[str] = []
        failed_ids: list[str] = []
        while True:
            rows: list[Any] = await self._executor().values(
                Query(TASKS, _IS_EXPIRED, (Order("lease_expires_at"),), _BATCH),
                ("id", "claim_count", "retry_count", "max_retries", "assigned_to"),
            )
            outcomes = await asyncio.gather(*(self._give_back(*row) for row in rows))
            done = [(row[0], outcome) for row, outcome in zip(rows, outcomes, strict=True) if outcome is not None]
            requeued += [id for id, is_pending in done if is_pending]
            failed_ids += [id for id, is_pending in done if not is_pending]
            if len(rows) < _BATCH or not done:
                break
        lost = () if timeout is None else await self._mark_lost_agents(timeout)
        return Recovery(tuple(requeued), tuple(failed_ids), lost)

    async def _give_back(
        self, id: str, claim_count: int, retry_count: int, max_retries: int, agent_id: str | None
    ) -> bool | None:
        """Give a task back; tells whether it is pending again, or `None` if somebody was faster."""
        error = f"the lease of {agent_id!r} ran out"
        # All that the decision rests on is looked at again by the statement that does it.
        conditions = (
            Condition("id", "=", id),
            *_IS_EXPIRED,
            Condition("claim_count", "=", claim_count),
            Condition("retry_count", "=", retry_count),
            Condition("max_retries", "=", max_retries),
        )
        moment = microseconds(now())
        if retry_count < max_retries:
            changes = retried(error, 0.0, retry_count + 1, moment)
            is_done = await self._write_one(Update(Query(TASKS, conditions), changes))
            return True if is_done else None
        step = Update(Query(TASKS, conditions), failed(error, moment))
        return False if await self._end_with_dependents(step, id, f"failed: {error}") else None

    async def _mark_lost_agents(self, age: float) -> tuple[str, ...]:
        is_lost = (Condition("heartbeat", "<", FromNow(-age)), Condition("status", "IN", _ALIVE))
        rows = await self._executor().values(Query(AGENTS, is_lost), ("id",))
        changes = {"status": AgentStatus.ERROR.value, **touched(microseconds(now()))}
        ids = [str(row[0]) for row in rows]
        marked = await asyncio.gather(
            *(self._write_one(Update(Query(AGENTS, (Condition("id", "=", id), *is_lost)), changes)) for id in ids)
        )
        return tuple(id for id, is_marked in zip(ids, marked, strict=True) if is_marked)
