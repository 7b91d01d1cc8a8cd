"""Summaries of metrics: aggregates for each time bucket and group."""

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Literal, cast

import msgspec

from swarm_persistence.clock import from_microseconds, microseconds
from swarm_persistence.durations import seconds
from swarm_persistence.engines.reads import Aggregate, AggregateFunction, AggregateRow, Bucket
from swarm_persistence.errors import InvalidQueryError, shown
from swarm_persistence.models import MetricModel
from swarm_persistence.query.query import Query
from swarm_persistence.storage.arguments import texts

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
