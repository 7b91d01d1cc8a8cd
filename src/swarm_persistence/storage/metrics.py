"""The verbs of metrics."""

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Literal, cast

import msgspec

from swarm_persistence.clock import from_microseconds, microseconds
from swarm_persistence.durations import seconds
from swarm_persistence.engines.reads import Aggregate, AggregateFunction, AggregateRow, Bucket, Select
from swarm_persistence.errors import InvalidQueryError, shown
from swarm_persistence.models import MetricModel
from swarm_persistence.query.query import Condition, Order, Query
from swarm_persistence.query.values import bound_value
from swarm_persistence.schema.tables import METRICS
from swarm_persistence.schema.values import identifier, text
from swarm_persistence.storage.arguments import texts
from swarm_persistence.storage.core import StorageCore
from swarm_persistence.storage.storing import store

DEFAULT_FUNCTIONS = ("avg", "min", "max", "sum", "count", "p50", "p95", "p99")

_FIELDS = ("agent_id", "unit")
_PLAIN = ("avg", "min", "max", "sum")
_PERCENTILE = re.compile(r"p(\d{1,3}(?:\.\d{1,12})?)", re.ASCII)
_EARLIEST = microseconds(datetime.min.replace(tzinfo=UTC))


class MetricSummary(msgspec.Struct, frozen=True):
    """The aggregates of the metrics of one time bucket and group."""

    bucket: datetime | None
    """The start of the bucket; `None` without buckets."""
    group: dict[str, str | None]
    """The values that define the group, by field."""
    values: dict[str, float]
    """The aggregates, by function; `count` is an int."""


class Summing:
    """A validated request for summaries."""

    def __init__(self, bucket: float | timedelta | None, group_by: Iterable[str], functions: Iterable[str]) -> None:
        self._bucket = None if bucket is None else bucket_of("timestamp", bucket)
        self._fields = _fields(group_by)
        self._functions = _functions(functions)

    def aggregate(self, query: Query[MetricModel]) -> Aggregate:
        """Return the aggregate to read from the engine for the metrics of a query."""
        buckets = () if self._bucket is None else (self._bucket,)
        # The count tells whether any metric matched.
        functions = (*self._functions.values(), AggregateFunction("count"))
        return Aggregate(query, (*buckets, *self._fields), functions)

    def summaries(self, rows: Sequence[AggregateRow]) -> list[MetricSummary]:
        """Return the summaries that the engine's rows hold."""
        return [self._summary(row) for row in rows if row[-1]]

    def _summary(self, row: AggregateRow) -> MetricSummary:
        rest: list[Any] = list(row)
        bucket = None if self._bucket is None else from_microseconds(max(rest.pop(0), _EARLIEST))
        # Each row has the added count as its last value.
        group = dict(zip(self._fields, rest, strict=False))
        values = dict(zip(self._functions, rest[len(group) : -1], strict=True))
        return MetricSummary(bucket, group, values)


def bucket_of(field: str, bucket: float | timedelta) -> Bucket:
    """Return the group of a time by buckets of this width; refuse one below a microsecond."""
    width = round(seconds(bucket, "bucket") * 1_000_000)
    if width == 0:
        raise InvalidQueryError(f"bucket is {shown(bucket)}, expected a microsecond at least")
    return Bucket(field, width)


def _fields(group_by: Iterable[str]) -> tuple[str, ...]:
    fields = texts(group_by, "group_by")
    for place, field in enumerate(fields):
        if field not in _FIELDS:
            raise InvalidQueryError(f"group_by[{place}] is {shown(field)}, expected one of {', '.join(_FIELDS)}")
    return fields


def _functions(functions: Iterable[str]) -> dict[str, AggregateFunction]:
    names = texts(functions, "functions")
    if not names:
        raise InvalidQueryError("functions is empty, expected one at least, such as avg, count or p95")
    return {name: _function(name, f"functions[{place}]") for place, name in enumerate(names)}


def _function(name: str, argument: str) -> AggregateFunction:
    if name == "count":
        return AggregateFunction("count")
    if name in _PLAIN:
        return AggregateFunction(cast(Literal["avg", "min", "max", "sum"], name), "value")
    percentile = _PERCENTILE.fullmatch(name)
    if percentile is not None and (percent := Decimal(percentile[1])) <= 100:
        return AggregateFunction("percentile", "value", float(percent / 100))
    raise InvalidQueryError(
        f"{argument} is {shown(name)}, expected one of {', '.join(_PLAIN)}, count, or a percentile from p0 to p100"
    )


_FUNCTIONS = (
    AggregateFunction("avg", "value"),
    AggregateFunction("count"),
    AggregateFunction("min", "value"),
    AggregateFunction("max", "value"),
    AggregateFunction("sum", "value"),
    AggregateFunction("max", "timestamp"),
)


class MetricVerbs(StorageCore):
    """Metrics: store, read, aggregate."""

    async def store_metric(self, metric: MetricModel) -> MetricModel:
        """Store a new metric, and return it.

        Raises:
            ConflictError: the id is taken; the stored metric is unchanged.
            SerializationError: a field's value cannot be stored; nothing was written.

        """
        return await store(self, METRICS, metric)

    async def get_metrics_by_agent(self, agent_id: str, metric_type: str) -> list[MetricModel]:
        """Return the metrics of this type that this agent measured, newest first."""
        conditions = (
            Condition("agent_id", "=", identifier(agent_id, "metric.agent_id")),
            Condition("metric_type", "=", text(metric_type, "metric.metric_type")),
        )
        return await self._executor().read(
            Select(Query(METRICS, conditions, (Order("timestamp", is_descending=True),)))
        )

    async def get_aggregated_metrics(
        self, metric_type: str, start_time: float | datetime, end_time: float | datetime
    ) -> list[MetricModel]:
        """Return one aggregated metric per agent and unit, of this type and time range, both bounds inclusive.

        Times are Unix seconds or aware datetimes; an `int` as the end means its whole second. The value is the average;
        the tags hold `count`, `min`, `max` and `sum` as text; the timestamp is that of the latest metric. Sorted by
        agent (those of no agent first) and unit.
        """
        name = text(metric_type, "metric.metric_type")
        measured = _measured(name, ("start_time", start_time), ("end_time", end_time))
        aggregate = Aggregate(measured, ("agent_id", "unit"), _FUNCTIONS)
        return [_aggregated(name, row) for row in await self._executor().read(aggregate)]

    async def aggregate_metrics(  # noqa: PLR0917 - type, range, bucket and grouping have a natural order
        self,
        metric_type: str,
        start: float | datetime,
        end: float | datetime,
        bucket: float | timedelta | None = None,
        group_by: Iterable[str] = (),
        functions: Iterable[str] = DEFAULT_FUNCTIONS,
    ) -> list[MetricSummary]:
        """Summarize the metrics of this type and time range, both bounds inclusive.

        Times are Unix seconds or aware datetimes; an `int` as the end means its whole second. There is one summary for
        each time `bucket` (seconds or a timedelta; buckets start at multiples of it since 1970, in UTC) and each group
        of the fields in `group_by` (`agent_id`, `unit`), and none without metrics. Sorted by bucket, then by the
        fields, metrics without an agent first. `functions` are `avg`, `min`, `max`, `sum`, `count`, and percentiles
        such as `p95` or `p99.9`, which are interpolated linearly.

        Raises:
            InvalidQueryError: the bucket is not above 0, or a field or function is unknown.
            SerializationError: a time is invalid.

        """
        measured = _measured(text(metric_type, "metric.metric_type"), ("start", start), ("end", end))
        summing = Summing(bucket, group_by, functions)
        rows = await self._executor().read(summing.aggregate(measured))
        return summing.summaries(rows)


def _measured(
    metric_type: str, start: tuple[str, float | datetime], end: tuple[str, float | datetime]
) -> Query[MetricModel]:
    """Return the query for the metrics of a type between two times, each given with its name for errors."""
    column = METRICS.column("timestamp")
    conditions = (
        Condition("metric_type", "=", metric_type),
        Condition("timestamp", ">=", bound_value(column, ">=", start[1], start[0])),
        Condition("timestamp", "<=", bound_value(column, "<=", end[1], end[0])),
    )
    return Query(METRICS, conditions)


def _aggregated(metric_type: str, row: AggregateRow) -> MetricModel:
    values: Any = row
    agent_id, unit, average, count, lowest, highest, total, latest = values
    return MetricModel(
        agent_id=agent_id,
        metric_type=metric_type,
        value=average,
        unit=unit,
        tags={"count": str(count), "min": str(lowest), "max": str(highest), "sum": str(total)},
        timestamp=from_microseconds(latest),
    )
