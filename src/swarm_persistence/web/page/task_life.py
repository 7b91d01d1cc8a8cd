"""What happened to a task, in the order of time: its own times, and the events that name it."""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from swarm_persistence import EventModel, TaskModel, TaskStatus

_ENDS = {
    TaskStatus.COMPLETED: "Completed",
    TaskStatus.FAILED: "Failed for good",
    TaskStatus.CANCELLED: "Cancelled",
}


class Moment(msgspec.Struct, frozen=True):
    """One line of the life of a task."""

    at: datetime
    text: str
    status: TaskStatus | None = None
    """The status that it has from then on, if that changed."""
    agent_id: str | None = None
    event: EventModel | None = None


def life_of(task: TaskModel, events: Sequence[EventModel]) -> list[Moment]:
    """Return the life of a task, the earliest first. Of several claims, the task itself knows the last."""
    moments = [Moment(task.created_at, "Stored", TaskStatus.PENDING)]
    if task.run_at is not None:
        moments.append(Moment(task.run_at, "Delayed until"))
    if task.started_at is not None:
        claims = f" (claim {task.claim_count:,})" if task.claim_count > 1 else ""
        moments.append(Moment(task.started_at, f"Started{claims}", TaskStatus.RUNNING, task.assigned_to))
    if task.lease_expires_at is not None:
        moments.append(Moment(task.lease_expires_at, "Lease expires"))
    if task.completed_at is not None and task.status in _ENDS:
        moments.append(Moment(task.completed_at, _ENDS[task.status], task.status, task.assigned_to))
    moments += [Moment(each.timestamp, each.event_type, None, each.agent_id, each) for each in events]
    return sorted(moments, key=lambda moment: moment.at)
