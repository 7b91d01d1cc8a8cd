"""The task: a unit of work, its status, and its result."""

from datetime import datetime
from enum import Enum, StrEnum
from functools import total_ordering
from typing import Any, Self

import msgspec

from swarm_persistence.clock import now
from swarm_persistence.models.base import Model


@total_ordering
class TaskPriority(Enum):
    """How urgent a task is; ordered, `LOW < MEDIUM < HIGH < CRITICAL`."""

    rank: int

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"

    def __init__(self, _value: str) -> None:
        self.rank = len(type(self).__members__)

    def __lt__(self, other: object) -> bool:
        if not isinstance(other, TaskPriority):
            return NotImplemented
        return self.rank < other.rank


class TaskStatus(StrEnum):
    """Where a task is in its life."""

    PENDING = "pending"
    ASSIGNED = "assigned"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class TaskModel(Model, kw_only=True):
    """A unit of work. `version` counts the writes; a fresh record, never stored, has 0.

    `claim_next_task` does not return it before `run_at`, nor before every task in `dependencies` is completed. A claim
    holds until `lease_expires_at`, if that is set, and counts in `claim_count`, which tells it from earlier ones. If a
    dependency fails for good or is cancelled, so does the task, unless `fails_with_dependencies` is false; then it goes
    on waiting. Of two tasks with one `idempotency_key`, only the first is stored.
    """

    task_type: str
    priority: TaskPriority = TaskPriority.MEDIUM
    status: TaskStatus = TaskStatus.PENDING
    assigned_to: str | None = None
    payload: Any = None
    result: Any | None = None
    error: str | None = None
    retry_count: int = 0
    max_retries: int = 3
    dependencies: list[str] = []
    created_at: datetime = msgspec.field(default_factory=now)
    updated_at: datetime = msgspec.field(default_factory=now)
    started_at: datetime | None = None
    completed_at: datetime | None = None
    run_at: datetime | None = None
    lease_expires_at: datetime | None = None
    claim_count: int = 0
    idempotency_key: str | None = None
    fails_with_dependencies: bool = True
    version: int = 0

    @classmethod
    def new(cls, task_type: str, payload: Any, priority: TaskPriority = TaskPriority.MEDIUM) -> Self:
        """Return a pending task with an id of its own, created now."""
        moment = now()
        return cls(task_type=task_type, payload=payload, priority=priority, created_at=moment, updated_at=moment)
