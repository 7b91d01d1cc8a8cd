"""The verbs for an operator's overview: counts, throughput, waiting tasks, and agents."""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any, cast

import msgspec

from swarm_persistence.engines.reads import Aggregate, AggregateFunction, Select, Values
from swarm_persistence.errors import InvalidQueryError, shown
from swarm_persistence.models import AgentModel, TaskModel, TaskPriority
from swarm_persistence.query.builder import QueryBuilder, bound, comparable_column
from swarm_persistence.query.query import Condition, Order, Query, Subquery, one_of, without_expired
from swarm_persistence.query.task_statuses import IS_HELD
from swarm_persistence.schema.decoding import column_decoder
from swarm_persistence.schema.tables import AGENTS, SEQUENCE, TASK_LINKS, TASKS, M, Table
from swarm_persistence.schema.values import identifier
from swarm_persistence.storage.core import StorageCore
from swarm_persistence.storage.dependencies import ROWS_AT_ONCE
from swarm_persistence.storage.tasks import IS_DUE, IS_MET, IS_PENDING, IS_READY, MOST_URGENT_FIRST
from swarm_persistence.storage.throughput import CHANGES_READ, TaskThroughput, ThroughputQuery, age_seconds

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
