"""What happened to a task, in the order of time: its own times, the events that name it, and its claims."""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from swarm_persistence import ClaimOutcome, EventModel, TaskModel, TaskStatus

_ENDS = {
    TaskStatus.COMPLETED: "Completed",
    TaskStatus.FAILED: "Failed for good",
    TaskStatus.CANCELLED: "Cancelled",
}

_OUTCOMES = {
    ClaimOutcome.COMPLETED: "completed",
    ClaimOutcome.FAILED: "failed for good",
    ClaimOutcome.CANCELLED: "cancelled",
    ClaimOutcome.RETRIED: "failed, to be retried",
    ClaimOutcome.RELEASED: "released",
    ClaimOutcome.LEASE_EXPIRED: "lease expired",
    ClaimOutcome.AGENT_LOST: "agent lost",
}


_STATUS_AFTER = {
    ClaimOutcome.COMPLETED: TaskStatus.COMPLETED,
    ClaimOutcome.FAILED: TaskStatus.FAILED,
    ClaimOutcome.CANCELLED: TaskStatus.CANCELLED,
}
"""After the other outcomes, a task is pending."""

_BY_ITS_AGENT = frozenset({ClaimOutcome.COMPLETED, ClaimOutcome.FAILED, ClaimOutcome.RETRIED, ClaimOutcome.RELEASED})
"""The outcomes by which the agent itself ends a claim; otherwise, it loses the claim."""


class ClaimRow(msgspec.Struct, frozen=True):
    """One claim of a task, as the page shows it."""

    number: int
    agent_id: str
    started_at: datetime | None
    ended_at: datetime | None
    outcome: str
    error: str | None


def claims_of(task: TaskModel) -> list[ClaimRow]:
    """Return the claims of a task in their order; the latest one is in the task's own fields."""
    rows = [
        ClaimRow(each.number, each.agent_id, each.started_at, each.ended_at, _OUTCOMES[each.outcome], each.error)
        for each in task.past_claims
    ]
    if task.assigned_to is not None and task.status is not TaskStatus.PENDING:
        outcome = _OUTCOMES[ClaimOutcome(task.status)] if task.status in _ENDS else task.status.value
        error = task.error if task.status is TaskStatus.FAILED else None
        latest = ClaimRow(task.claim_count, task.assigned_to, task.started_at, task.completed_at, outcome, error)
        rows.append(latest)
    return rows


class Moment(msgspec.Struct, frozen=True):
    """One line of the life of a task."""

    at: datetime
    text: str
    status: TaskStatus | None = None
    """The new status, if it changed."""
    agent_id: str | None = None
    event: EventModel | None = None


def life_of(task: TaskModel, events: Sequence[EventModel]) -> list[Moment]:
    """Return the life of a task, the earliest first."""
    moments = [Moment(task.created_at, "Stored", TaskStatus.PENDING)]
    if task.run_at is not None:
        moments.append(Moment(task.run_at, "Delayed until"))
    for claim in task.past_claims:
        if claim.started_at is not None:
            moments.append(_start(claim.started_at, claim.number, claim.agent_id))
        status = _STATUS_AFTER.get(claim.outcome, TaskStatus.PENDING)
        text = f"Claim {claim.number:,}: {_OUTCOMES[claim.outcome]}"
        agent_id = claim.agent_id if claim.outcome in _BY_ITS_AGENT else None
        moments.append(Moment(claim.ended_at, text, status, agent_id))
    if task.started_at is not None:
        moments.append(_start(task.started_at, task.claim_count, task.assigned_to))
    if task.lease_expires_at is not None:
        moments.append(Moment(task.lease_expires_at, "Lease expires"))
    if task.completed_at is not None and task.status in _ENDS:
        moments.append(Moment(task.completed_at, _ENDS[task.status], task.status, task.assigned_to))
    moments += [Moment(each.timestamp, each.event_type, None, each.agent_id, each) for each in events]
    return sorted(moments, key=lambda moment: moment.at)


def _start(at: datetime, number: int, agent_id: str | None) -> Moment:
    claim = f" (claim {number:,})" if number > 1 else ""
    return Moment(at, f"Started{claim}", TaskStatus.RUNNING, agent_id)
