"""The verbs for an operator's overview: counts, throughput, waiting tasks, and agents."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any, cast

import msgspec

from swarm_persistence.clock import from_microseconds, microseconds
from swarm_persistence.engines.reads import Aggregate, AggregateFunction, AggregateRow, Elapsed, Select, Values
from swarm_persistence.errors import InvalidQueryError, shown
from swarm_persistence.models import AgentModel, TaskModel, TaskPriority, TaskStatus
from swarm_persistence.query.builder import QueryBuilder, bound, comparable_column
from swarm_persistence.query.query import Condition, Order, Query, Subquery, one_of, without_expired
from swarm_persistence.query.task_statuses import IS_FINISHED, IS_HELD
from swarm_persistence.query.values import bound_value
from swarm_persistence.schema.decoding import column_decoder
from swarm_persistence.schema.tables import AGENTS, CHANGE_NUMBER, SEQUENCE, TASK_LINKS, TASKS, M, Table
from swarm_persistence.schema.values import ColumnValue, identifier
from swarm_persistence.storage.core import StorageCore
from swarm_persistence.storage.dependencies import ROWS_AT_ONCE
from swarm_persistence.storage.metrics import bucket_of
from swarm_persistence.storage.tasks import IS_DUE, IS_MET, IS_PENDING, IS_READY, MOST_URGENT_FIRST

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


_COUNT = (AggregateFunction("count"),)
_COUNT_AND_FIRST = (*_COUNT, AggregateFunction("min", SEQUENCE))
_WAITING_FIELDS = ("task_type", "id", "priority", "created_at", "run_at")
_MAY_BE_CLAIMED = (IS_READY, (IS_PENDING, IS_MET, *IS_DUE))
"""The conditions of ready tasks without a delay, and of those whose delay has passed."""
_HAS_LEASE = Condition("lease_expires_at", "IS NOT NULL")


class WaitingTasks(msgspec.Struct, frozen=True):
    """The tasks of one type that could be claimed now, and the one of them that was stored first."""

    task_type: str
    count: int
    id: str
    """The id of the oldest."""
    priority: TaskPriority
    since: datetime
    """Since when the oldest waits: its `created_at` or `run_at`, the later."""
    age_seconds: float
    """How long the oldest has waited, by the database's clock."""


class AgentLiveness(msgspec.Struct, frozen=True):
    """An agent, and the age of its last heartbeat."""

    agent: AgentModel
    heartbeat_age_seconds: float
    """The age of the heartbeat, by the database's clock."""
    leases: int
    """How many tasks it holds with a lease."""


class OverviewVerbs(StorageCore):
    """Counts, throughput, and what waits."""

    async def count_by(self, records: type[M] | QueryBuilder[M], *fields: str) -> dict[tuple[Any, ...], int]:
        """Count the records of a model, or those that match a query, for each combination of these fields' values.

        The engine groups them in one query; no record is read. The keys hold the values in the order of `fields`, as a
        record has them (enum members, datetimes, `None`), and are sorted, `None` first. A combination that no record
        has is left out.

        Raises:
            InvalidQueryError: no field, one that is unknown, given twice or holds JSON or bytes, or a query with an
                order, a limit or an offset.
            UnreadableError: a stored value cannot be read back.

        """
        query = _query_of(records)
        names = _names(query.table, fields)
        decoders = [column_decoder(query.table, name) for name in names]
        rows = await self._executor().read(Aggregate(query, names, _COUNT))
        return {
            tuple([decode(value) for decode, value in zip(decoders, row, strict=False)]): cast(int, row[-1])
            for row in rows
        }

    async def get_task_throughput(
        self,
        start: float | datetime,
        end: float | datetime,
        bucket: float | timedelta,
        *,
        by_type: bool = False,
        limit: int = CHANGES_READ,
    ) -> TaskThroughput:
        """Return how many tasks ended in each time bucket, how long they waited and how long they ran.

        Times are Unix seconds or aware datetimes, both inclusive; an `int` as the end means its whole second. Buckets
        start at multiples of `bucket` (seconds or a timedelta) since 1970, in UTC. The tasks are found by their latest
        changes: the last `limit` are read, so the cost is bounded in a database of any size, and `since` of the
        result tells from when on it is complete. A task that was retried counts in the bucket in which it ended last.

        Raises:
            InvalidQueryError: the bucket is not above 0, or the limit is negative.
            SerializationError: a time is invalid.

        """
        wanted = ThroughputQuery(start, end, bucket, by_type)
        executor = self._executor()
        edges = await executor.read(wanted.edge(bound("limit", limit)))
        edge = edges[0] if edges else None
        return wanted.throughput(edge, await executor.read(wanted.aggregate(edge)))

    async def get_waiting_tasks(self) -> list[WaitingTasks]:
        """Return for each type how many tasks could be claimed now, and the oldest; the longest-waiting type first.

        The oldest task of a type is the one that was stored first.
        """
        executor = self._executor()
        counts: dict[str, int] = {}
        first: dict[str, int] = {}
        for ready in _MAY_BE_CLAIMED:
            for row in await executor.read(Aggregate(Query(TASKS, ready), ("task_type",), _COUNT_AND_FIRST)):
                task_type, count, sequence = cast(tuple[str, int, int], row)
                counts[task_type] = counts.get(task_type, 0) + count
                first[task_type] = min(sequence, first.get(task_type, sequence))
        sequences = sorted(first.values())
        decoders = [column_decoder(TASKS, name) for name in _WAITING_FIELDS]
        present = await self._engine.time()
        found: list[WaitingTasks] = []
        for place in range(0, len(sequences), ROWS_AT_ONCE):
            some = Condition(SEQUENCE, "IN", tuple(sequences[place : place + ROWS_AT_ONCE]))
            for row in await executor.read(Values(Query(TASKS, (some,)), _WAITING_FIELDS)):
                task_type, id, priority, created_at, run_at = [
                    decode(value) for decode, value in zip(decoders, row, strict=True)
                ]
                since = created_at if run_at is None else max(created_at, run_at)
                age = age_seconds(since, present)
                found.append(WaitingTasks(task_type, counts[task_type], id, priority, since, age))
        return sorted(found, key=lambda waiting: waiting.since)

    async def get_agent_liveness(self, limit: int | None = None) -> list[AgentLiveness]:
        """Return the agents, newest first, each with the age of its heartbeat and the leases it holds."""
        newest = Query(
            AGENTS,
            order=(Order("created_at", is_descending=True),),
            limit=None if limit is None else bound("limit", limit),
        )
        executor = self._executor()
        agents = await executor.read(Select(newest))
        # Along the index of leases: finished tasks keep their agent, and have none.
        rows: list[Any] = await executor.read(Aggregate(Query(TASKS, (_HAS_LEASE, IS_HELD)), ("assigned_to",), _COUNT))
        leases = {row[0]: row[1] for row in rows}
        present = await self._engine.time()
        return [AgentLiveness(each, age_seconds(each.heartbeat, present), leases.get(each.id, 0)) for each in agents]

    async def get_waiting_dependents(self, id: str, limit: int = 100) -> list[TaskModel]:
        """Return the tasks that wait for this one, which need not be stored: most urgent first, then first stored.

        Once it is completed, none waits for it any more.
        """
        links = Query(TASK_LINKS, (Condition("dependency_id", "=", identifier(id, "task.id")),))
        waits = Condition("id", "IN SUBQUERY", Subquery(links, "task_id"))
        return await self._executor().read(Select(Query(TASKS, (waits,), MOST_URGENT_FIRST, bound("limit", limit))))


async def ready_tasks_of(core: StorageCore, task_types: Collection[str], limit: int) -> list[TaskModel]:
    """Return the ready tasks of these types: first those without a delay, each part by priority, then arrival."""
    if not task_types:
        return []
    found: dict[str, TaskModel] = {}
    for ready in _MAY_BE_CLAIMED:
        query: Query[TaskModel] = Query(TASKS, (*ready, one_of("task_type", [*task_types])), MOST_URGENT_FIRST, limit)
        found |= {task.id: task for task in await core._executor().read(Select(query))}
    return [*found.values()][:limit]


def _query_of(records: type[M] | QueryBuilder[M]) -> Query[M]:
    query = (records if isinstance(records, QueryBuilder) else QueryBuilder(records)).query
    if query.order or query.limit is not None or query.offset:
        raise InvalidQueryError("all records that match a query are counted; leave order, limit and offset")
    return without_expired(query)


def _names(table: Table[Any], fields: tuple[str, ...]) -> tuple[str, ...]:
    names = tuple([comparable_column(table, field).name for field in fields])
    if not names:
        raise InvalidQueryError("fields is empty, expected one at least; `Repository.count` counts without fields")
    if len(set(names)) < len(names):
        raise InvalidQueryError(f"fields is {shown(names)}, expected each one once")
    return names
