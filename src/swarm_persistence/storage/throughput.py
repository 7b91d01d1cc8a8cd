"""The throughput of tasks: how many ended in each time bucket, how long they waited, and how long they ran."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from swarm_persistence.clock import from_microseconds, microseconds
from swarm_persistence.engines.reads import Aggregate, AggregateFunction, AggregateRow, Elapsed, Values
from swarm_persistence.models import TaskStatus
from swarm_persistence.query.query import Condition, Order, Query
from swarm_persistence.query.task_statuses import IS_FINISHED
from swarm_persistence.query.values import bound_value
from swarm_persistence.schema.tables import CHANGE_NUMBER, TASKS
from swarm_persistence.schema.values import ColumnValue
from swarm_persistence.storage.summaries import bucket_of

CHANGES_READ = 100_000
"""The default number of latest task changes to read, which takes SQLite about 0.1 s."""

_FRACTIONS = (0.5, 0.95, 0.99)
# A task that is retried later, or delayed, waits from its `run_at` on.
_QUEUE_TIME = Elapsed(("created_at", "run_at"), "started_at")
_RUN_TIME = Elapsed(("started_at",), "completed_at")
_FUNCTIONS = (
    AggregateFunction("count"),
    *[AggregateFunction("percentile", time, fraction) for time in (_QUEUE_TIME, _RUN_TIME) for fraction in _FRACTIONS],
)


class Durations(msgspec.Struct, frozen=True):
    """Percentiles of a duration in seconds; `None` if no task has one."""

    p50: float | None = None
    p95: float | None = None
    p99: float | None = None


class ThroughputBucket(msgspec.Struct, frozen=True):
    """The tasks that ended in one time bucket."""

    start: datetime
    task_type: str | None
    """`None` if the tasks are not grouped by type."""
    counts: dict[TaskStatus, int]
    """The number of tasks by final status; statuses without tasks are left out."""
    queue_seconds: Durations
    """How long completed tasks waited: from `created_at` or `run_at`, whichever is later, until `started_at`."""
    run_seconds: Durations
    """How long completed tasks ran: from `started_at` until `completed_at`."""


class TaskThroughput(msgspec.Struct, frozen=True):
    """The tasks that ended in a range of time, by bucket."""

    since: datetime
    """The time from which the buckets are complete: the start, or later if not all changes were read."""
    buckets: list[ThroughputBucket]
    """Sorted by start, then by type; a bucket without tasks is left out."""


class ThroughputQuery:
    """A validated request for the throughput."""

    def __init__(
        self, start: float | datetime, end: float | datetime, bucket: float | timedelta, by_type: bool
    ) -> None:
        ended = TASKS.column("completed_at")
        self._start: Any = bound_value(ended, ">=", start, "start")
        self._conditions = (
            IS_FINISHED,
            Condition("completed_at", ">=", self._start),
            Condition("completed_at", "<=", bound_value(ended, "<=", end, "end")),
        )
        self._by_type = by_type
        self._groups = (bucket_of("completed_at", bucket), *(("task_type",) if by_type else ()), "status")

    @staticmethod
    def edge(limit: int) -> Values:
        """Return the read of the first change that is too old to be counted."""
        latest = (Order(CHANGE_NUMBER, is_descending=True),)
        return Values(Query(TASKS, (), latest, 1, limit), (CHANGE_NUMBER, "updated_at"))

    def aggregate(self, edge: Sequence[ColumnValue] | None) -> Aggregate:
        """Return the aggregate of the tasks that changed after the edge."""
        recent = () if edge is None else (Condition(CHANGE_NUMBER, ">", edge[0]),)
        return Aggregate(Query(TASKS, (*recent, *self._conditions)), self._groups, _FUNCTIONS)

    def throughput(self, edge: Sequence[ColumnValue] | None, rows: Sequence[AggregateRow]) -> TaskThroughput:
        """Return the throughput that the rows of the aggregate hold."""
        counts: dict[tuple[int, str | None], dict[TaskStatus, int]] = {}
        durations: dict[tuple[int, str | None], tuple[Durations, Durations]] = {}
        for row in rows:
            values: Any = row
            *group, status, count = values[: len(self._groups) + 1]
            key = (group[0], group[1] if self._by_type else None)
            counts.setdefault(key, {})[TaskStatus(status)] = count
            if status == TaskStatus.COMPLETED.value:
                times = [*values[len(self._groups) + 1 :]]
                durations[key] = (_durations(times[:3]), _durations(times[3:]))
        none = (Durations(), Durations())
        since: Any = self._start if edge is None else max(self._start, edge[1])
        buckets = [
            ThroughputBucket(from_microseconds(start), task_type, by_status, *durations.get((start, task_type), none))
            for (start, task_type), by_status in counts.items()
        ]
        return TaskThroughput(from_microseconds(since), buckets)


def _durations(times: Sequence[float | None]) -> Durations:
    # Clients' clocks differ: a task may seem to have started before it was created.
    return Durations(*[None if time is None else max(time, 0.0) / 1_000_000 for time in times])


def age_seconds(moment: datetime, present: int) -> float:
    """Return the age of a moment in seconds, at a present time in microseconds; 0 for one in the future."""
    return max(present - microseconds(moment), 0) / 1_000_000
