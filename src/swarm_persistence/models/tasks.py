"""The task: a unit of work, its status, and its result."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, Self

import msgspec

from swarm_persistence.clock import now
from swarm_persistence.models.base import Model
from swarm_persistence.models.choices import RankedEnum, member, member_or_value
from swarm_persistence.models.grouped import Tagged
from swarm_persistence.models.lists import texts_of
from swarm_persistence.models.past_claims import PastClaim
from swarm_persistence.models.trace_parents import checked_trace_parent


class TaskPriority(RankedEnum):
    """How urgent a task is; ordered, `LOW < MEDIUM < HIGH < CRITICAL`."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


class TaskStatus(StrEnum):
    """The state of a task."""

    PENDING = "pending"
    ASSIGNED = "assigned"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class KeyPolicy(StrEnum):
    """How long a task prevents others with its `idempotency_key` from being stored."""

    FOR_EVER = "for_ever"
    WHILE_ACTIVE = "while_active"


class TaskModel(Model, Tagged, kw_only=True):
    """A unit of work. `version` counts the writes; a fresh record, never stored, has 0.

    `claim_next_task` does not return it before `run_at`, nor before every task in `dependencies` is completed. A claim
    holds until `lease_expires_at`, if that is set, and counts in `claim_count`, which tells it from earlier ones. If a
    dependency fails for good or is cancelled, so does the task, unless `fails_with_dependencies` is false; then it goes
    on waiting. Of two tasks with one `idempotency_key`, only the first is stored; with the `key_policy` `while_active`,
    the key is free for another task once this one has ended. `trace_parent` names the span that it was stored in, as
    W3C's `traceparent`: an instrumented storage sets it, and an instrumented worker continues it; a malformed one is
    refused. `progress` (0 to 1) and `progress_text` are what the holder of the latest claim has reported. An agent
    without all of the `required_capabilities` does not get it as the next task; `None` fits all. How many tasks of one
    `concurrency_key` may be claimed at once is set by `set_limit` for their type.

    The latest claim is in the fields above: `assigned_to`, `started_at`, and how it ended. `past_claims` are the ones
    that ended before, the oldest first, of which the latest 100 are kept. The write that ends a claim appends it, and
    no other: an update leaves the list as it is stored, whatever the copy says.
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
    concurrency_key: str | None = None
    required_capabilities: tuple[str, ...] | None = None
    fails_with_dependencies: bool = True
    group: str | None = None
    tags: dict[str, str] = {}
    key_policy: KeyPolicy = KeyPolicy.FOR_EVER
    trace_parent: str | None = None
    version: int = 0
    progress: float | None = None
    progress_text: str | None = None
    past_claims: tuple[PastClaim, ...] = ()

    def __post_init__(self) -> None:
        # Only if one is not a member, as every record that is read comes through here.
        if type(self.priority) is not TaskPriority or type(self.status) is not TaskStatus:
            self.priority = member_or_value(TaskPriority, self.priority)
            self.status = member_or_value(TaskStatus, self.status)
        if type(self.key_policy) is not KeyPolicy:
            self.key_policy = member_or_value(KeyPolicy, self.key_policy)
        if self.required_capabilities is not None:
            self.required_capabilities = _distinct(self.required_capabilities)

    @classmethod
    def new(
        cls,
        task_type: str,
        payload: Any,
        priority: TaskPriority | str = TaskPriority.MEDIUM,
        *,
        dependencies: Iterable[str] = (),
        run_at: datetime | None = None,
        max_retries: int = 3,
        idempotency_key: str | None = None,
        concurrency_key: str | None = None,
        required_capabilities: Iterable[str] = (),
        fails_with_dependencies: bool = True,
        group: str | None = None,
        tags: Mapping[str, str] | None = None,
        key_policy: KeyPolicy | str = KeyPolicy.FOR_EVER,
        trace_parent: str | None = None,
    ) -> Self:
        """Return a pending task with an id of its own, created now."""
        moment = now()
        return cls(
            task_type=task_type,
            payload=payload,
            priority=member(TaskPriority, priority, "task.priority"),
            dependencies=texts_of(dependencies, "task.dependencies"),
            run_at=run_at,
            max_retries=max_retries,
            idempotency_key=idempotency_key,
            concurrency_key=concurrency_key,
            required_capabilities=tuple(texts_of(required_capabilities, "task.required_capabilities")),
            fails_with_dependencies=fails_with_dependencies,
            group=group,
            tags=dict(tags or {}),
            key_policy=member(KeyPolicy, key_policy, "task.key_policy"),
            trace_parent=checked_trace_parent(trace_parent),
            created_at=moment,
            updated_at=moment,
        )

    def assign_to(self, agent_id: str) -> None:
        """Set `assigned_to`, `status` to assigned, and `updated_at`; `update_task` stores it.

        If several agents do so, one succeeds; the others get a `ConflictError`. `claim_task` does not need a copy.
        """
        self.assigned_to = agent_id
        self.status = TaskStatus.ASSIGNED
        self.updated_at = now()

    def start(self) -> None:
        """Set `status` to running, and `started_at` and `updated_at` to now; `update_task` stores it."""
        self.status = TaskStatus.RUNNING
        self.started_at = self.updated_at = now()

    def complete(self, result: Any) -> None:
        """Set `status` to completed, the result, and `completed_at` and `updated_at`; `update_task` stores it."""
        self.status = TaskStatus.COMPLETED
        self.result = result
        self.completed_at = self.updated_at = now()

    def fail(self, error: str) -> None:
        """Count a failed attempt, and set the error and `updated_at`; `update_task` stores it.

        The task is pending again and not assigned or, once `retry_count` is `max_retries`, failed.
        """
        self.retry_count += 1
        if self.retry_count >= self.max_retries:
            self.status = TaskStatus.FAILED
        else:
            self.status = TaskStatus.PENDING
            self.assigned_to = None
        self.error = error
        self.updated_at = now()


def _distinct(capabilities: Any) -> Any:
    """Return capabilities as a sorted tuple, `None` if there are none; invalid values are refused when stored."""
    if not isinstance(capabilities, tuple | list | set | frozenset):
        return capabilities
    if not all(isinstance(each, str) for each in capabilities):  # hashing nested tuples recurses as deep
        return capabilities
    return tuple(sorted(set(capabilities))) or None
