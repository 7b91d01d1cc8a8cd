"""The verbs that recover from dead agents: heartbeats, expired leases, lost agents and processes that have exited."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any, NamedTuple, TypeVar

import msgspec

from swarm_persistence.durations import seconds
from swarm_persistence.engines.reads import Values
from swarm_persistence.engines.steps import Step, Update
from swarm_persistence.errors import NotFoundError, UnreadableError
from swarm_persistence.models import AgentStatus, ClaimOutcome
from swarm_persistence.query.query import Condition, FromNow, Order, Query, one_of
from swarm_persistence.query.task_statuses import IS_HELD
from swarm_persistence.schema.tables import AGENTS, PAST_CLAIMS, SEQUENCE, TASKS
from swarm_persistence.schema.values import identifier, past_claims_of
from swarm_persistence.storage.core import NOW, TOUCHED, by_id
from swarm_persistence.storage.failures import failed
from swarm_persistence.storage.held_claims import releasing
from swarm_persistence.storage.leases import LeaseVerbs, retried
from swarm_persistence.storage.readable import readable_values

HEARTBEAT_TIMEOUT_SECONDS = 300.0
"""The default age of a heartbeat after which an agent is lost."""

T = TypeVar("T")

_BATCH = 500
_IS_EXPIRED = (IS_HELD, Condition("lease_expires_at", "<=", FromNow()))
_HAS_NO_LEASE = (IS_HELD, Condition("lease_expires_at", "IS NULL"))
_ALIVE = ("initializing", "active", "idle", "busy", "paused")

_MOST_FREE_CLAIMS = 3
"""Claims of a task that were released as those of processes that had exited; a further one is left to its lease.

A task that crashes the process of each worker would otherwise be claimed forever.
"""

_log = logging.getLogger(__name__)


class Recovery(msgspec.Struct, frozen=True):
    """The result of `requeue_expired_tasks`, as ids."""

    requeued: tuple[str, ...]
    """The tasks that are pending again."""
    failed: tuple[str, ...]
    """The tasks that had no retry left and have failed for good."""
    lost_agents: tuple[str, ...]
    """The agents that were marked as `error`."""


class RecoveryVerbs(LeaseVerbs):
    """Recovery: heartbeats, and requeueing what lost agents hold."""

    async def heartbeat(self, agent_id: str) -> None:
        """Record a heartbeat of the agent.

        Raises:
            NotFoundError: no agent has this id.

        """
        changes = {"heartbeat": NOW, **TOUCHED}
        if not await self._write_one(Update(by_id(AGENTS, agent_id), changes)):
            raise NotFoundError(f"agent {agent_id!r}")

    async def requeue_expired_tasks(
        self, *, heartbeat_timeout: float | timedelta | None = HEARTBEAT_TIMEOUT_SECONDS
    ) -> Recovery:
        """Requeue the tasks whose lease has expired, and mark the agents whose heartbeat is too old as `error`.

        The write that marks an agent also requeues the tasks that it holds without a lease. An agent that is not
        registered sends no heartbeats and keeps its tasks. Each task counts a retry; a task without retries left fails
        for good. Any number of workers may call this concurrently: each task is requeued once. With `None`, no agent is
        checked. Unreadable rows are requeued as well. A row that cannot be written does not block others: all errors
        are logged, and the first is raised at the end.
        """
        timeout = None if heartbeat_timeout is None else seconds(heartbeat_timeout, "heartbeat_timeout")
        errors: list[Exception] = []
        requeued = await self._requeue_expired(errors)
        lost = () if timeout is None else await self._mark_lost_agents(timeout, requeued, errors)
        recovery = Recovery(
            tuple(id for id, is_pending in requeued if is_pending),
            tuple(id for id, is_pending in requeued if not is_pending),
            lost,
        )
        if self.instrumentation is not None:
            self.instrumentation.requeued(len(requeued))
        if errors:
            errors[0].add_note(f"All the same, this was done: {recovery}")
            raise errors[0]
        return recovery

    async def release_tasks_of(self, agent_id: str) -> list[str]:
        """Release the tasks that the agent holds, and return their ids; no retry is counted.

        Call it only if the process that claimed them has certainly exited. A task that has outlived several of its
        holders stays claimed until its lease expires, which counts a retry.
        """
        held = (Condition("assigned_to", "=", identifier(agent_id, "task.assigned_to")), IS_HELD)
        executor = self._executor()
        rows: list[Any] = await executor.read(Values(Query(TASKS, held), ("id", "claim_count", PAST_CLAIMS)))
        claims = [(id, number) for id, number, past in rows if _free_claims_in(past) < _MOST_FREE_CLAIMS]
        if not claims:
            return []
        steps: list[Step] = [
            Update(
                Query(TASKS, (Condition("id", "=", id), *held, Condition("claim_count", "=", number))),
                releasing(ClaimOutcome.AGENT_LOST),
            )
            for id, number in claims
        ]
        released = await executor.write(steps)
        ids = [str(id) for (id, _), count in zip(claims, released, strict=True) if count]
        if self.instrumentation is not None:
            self.instrumentation.requeued(len(ids))
        return ids

    async def _requeue_expired(self, errors: list[Exception]) -> list[tuple[str, bool]]:
        """Requeue expired tasks; return for each whether it is pending again."""

        def requeue(row: Any) -> Awaitable[bool | None]:
            return self._requeue(row[0], row[1:4], _expired(row[4]))

        done: list[tuple[str, bool]] = []
        passed: set[str] = set()
        stuck: set[str] = set()
        while True:
            rows, unreadable = await readable_values(
                self._executor(),
                # Rows that cannot be requeued stay in front of all later ones.
                Query(TASKS, _IS_EXPIRED, (Order("lease_expires_at"),), _BATCH, len(stuck)),
                ("id", "claim_count", "retry_count", "max_retries", "assigned_to"),
            )
            for each in unreadable:
                done += await self._requeue_unreadable(each, _expired(None))
            fresh = [row for row in rows if row[0] not in stuck]
            outcomes = await self._each(fresh, requeue, "task", errors)
            for row, outcome in zip(fresh, outcomes, strict=True):
                id = str(row[0])
                if isinstance(outcome, bool):
                    done.append((id, outcome))
                elif isinstance(outcome, Exception) or id in passed:
                    stuck.add(id)
                else:
                    passed.add(id)  # another worker was faster, or the row has changed and may still be expired
            if len(rows) < _BATCH or not fresh:
                return done

    async def _requeue_unreadable(self, error: UnreadableError, lost: "_LostClaim") -> list[tuple[str, bool]]:
        """Requeue a task with an unreadable text; the decision needs only its numbers."""
        row = Condition(SEQUENCE, "=", error.sequence)
        fields = ("claim_count", "retry_count", "max_retries")
        done: list[tuple[str, bool]] = []
        for numbers in await self._executor().read(Values(Query(TASKS, (row, *lost.held)), fields)):
            id = error.id or f"(sequence {error.sequence})"
            is_pending = await self._requeue(id, numbers, lost, row)
            if is_pending is not None:
                done.append((id, is_pending))
        return done

    async def _each(
        self, rows: Sequence[Any], work: Callable[[Any], Awaitable[T]], label: str, errors: list[Exception]
    ) -> list[T | Exception]:
        """Run `work` for each row and return the results; a failure does not stop the others."""

        async def attempt(row: Any) -> T | Exception:
            try:
                return await work(row)
            except Exception as error:
                if self._scope() is not None:
                    raise  # It has doomed the caller's transaction, which the caller can retry.
                _log.error("the %s %r cannot be recovered: %s", label, row[0], error)
                errors.append(error)
                return error

        return await asyncio.gather(*map(attempt, rows))

    async def _requeue(
        self, id: str, numbers: Sequence[Any], lost: "_LostClaim", row: Condition | None = None
    ) -> bool | None:
        """Requeue a task; return whether it is pending again, or `None` if another caller was faster."""
        claim_count, retry_count, max_retries = numbers
        # The statement checks again all that the decision depends on.
        conditions = (
            row or Condition("id", "=", id),
            *lost.held,
            Condition("claim_count", "=", claim_count),
            Condition("retry_count", "=", retry_count),
            Condition("max_retries", "=", max_retries),
        )
        if retry_count < max_retries:
            changes = retried(lost.outcome, lost.reason, 0.0, retry_count + 1)
            is_done = await self._write_one(Update(Query(TASKS, conditions), changes))
            return True if is_done else None
        step = Update(Query(TASKS, conditions), failed(lost.reason))
        return False if await self._end_with_dependents(step, id, f"failed: {lost.reason}") else None

    async def _mark_lost_agents(
        self, age: float, requeued: list[tuple[str, bool]], errors: list[Exception]
    ) -> tuple[str, ...]:
        is_lost = (Condition("heartbeat", "<", FromNow(-age)), Condition("status", "IN", _ALIVE))
        rows, unreadable = await readable_values(self._executor(), Query(AGENTS, is_lost), ("id",))
        changes = {"status": AgentStatus.ERROR.value, **TOUCHED}
        holders = await self._holders_without_lease([str(row[0]) for row in rows])

        async def mark(row: Any) -> bool:
            lost = Query(AGENTS, (Condition("id", "=", row[0]), *is_lost))
            return bool(await self._write_one(Update(lost, changes)))

        async def mark_with_tasks(row: Any) -> bool:
            async def work() -> list[tuple[str, bool]] | None:
                return await self._requeue_without_lease(str(row[0])) if await mark(row) else None

            done = await self._as_one(work)
            requeued.extend(done or ())
            return done is not None

        def recover(row: Any) -> Awaitable[bool]:
            return mark_with_tasks(row) if row[0] in holders else mark(row)

        for each in unreadable:
            await self._write_one(Update(Query(AGENTS, (Condition(SEQUENCE, "=", each.sequence), *is_lost)), changes))
        marked = await self._each(rows, recover, "agent", errors)
        return tuple(str(row[0]) for row, is_marked in zip(rows, marked, strict=True) if is_marked is True)

    async def _holders_without_lease(self, agent_ids: Sequence[str]) -> set[str]:
        """Return which of these agents hold a task without a lease; the others are marked in a single write."""
        holders: set[str] = set()
        for place in range(0, len(agent_ids), _BATCH):
            some = one_of("assigned_to", agent_ids[place : place + _BATCH])
            rows, _ = await readable_values(self._executor(), Query(TASKS, (some, *_HAS_NO_LEASE)), ("assigned_to",))
            holders.update(str(row[0]) for row in rows)
        return holders

    async def _requeue_without_lease(self, agent_id: str) -> list[tuple[str, bool]]:
        """Requeue the tasks that a lost agent holds without a lease; return for each whether it is pending again."""
        held = (Condition("assigned_to", "=", agent_id), *_HAS_NO_LEASE)
        lost = _LostClaim(held, ClaimOutcome.AGENT_LOST, f"agent {agent_id!r} gave no sign of life")
        fields = ("id", "claim_count", "retry_count", "max_retries")
        rows, unreadable = await readable_values(self._executor(), Query(TASKS, held), fields)
        done: list[tuple[str, bool]] = []
        for each in unreadable:
            done += await self._requeue_unreadable(each, lost)
        for id, *numbers in rows:
            is_pending = await self._requeue(str(id), numbers, lost)
            if is_pending is not None:
                done.append((str(id), is_pending))
        return done


class _LostClaim(NamedTuple):
    """A way in which claims are lost: its conditions, the outcome of the claim, and the error of the task."""

    held: tuple[Condition, ...]
    outcome: ClaimOutcome
    reason: str


def _expired(agent_id: str | None) -> _LostClaim:
    return _LostClaim(_IS_EXPIRED, ClaimOutcome.LEASE_EXPIRED, f"the lease of {agent_id!r} ran out")


def _free_claims_in(past: Any) -> int:
    """Return how many of the past claims `release_tasks_of` has released; a claim that counts a retry has an error."""
    return sum(each.outcome is ClaimOutcome.AGENT_LOST and each.error is None for each in past_claims_of(past))
