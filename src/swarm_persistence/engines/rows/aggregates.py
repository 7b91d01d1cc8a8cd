"""Computes aggregates of groups of rows, as SQL does."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from operator import itemgetter
from typing import Any

from swarm_persistence.engines.reads import Aggregate, AggregateFunction, AggregateRow, Bucket, Elapsed
from swarm_persistence.engines.rows.evaluator import matching_rows
from swarm_persistence.engines.rows.row_source import RowSource
from swarm_persistence.query.percentiles import percentile_of
from swarm_persistence.query.query import Order
from swarm_persistence.query.semantics import order_key
from swarm_persistence.schema.codec import Row
from swarm_persistence.schema.tables import Kind, Table


def aggregate_rows(source: RowSource, aggregate: Aggregate) -> list[AggregateRow]:
    """Return one row per group, sorted by the group's key, null first; without `group_by`, one row."""
    table = source.table
    functions = [_function(table, function) for function in aggregate.functions]
    rows = matching_rows(source, aggregate.query)
    if not aggregate.group_by:
        return [tuple(compute(rows) for compute in functions)]
    key_parts = [_key_part(table, group) for group in aggregate.group_by]
    if len(key_parts) == 1 and all(function.field is None for function in aggregate.functions):
        return _counted(Counter(map(key_parts[0], rows)), len(functions))
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple([part(row) for part in key_parts]), []).append(row)
    sort_keys = [_sort_key(table, place, group) for place, group in enumerate(aggregate.group_by)]
    sorted_groups = sorted(groups.items(), key=lambda group: [sort_key(group) for sort_key in sort_keys])
    return [(*key, *(compute(group) for compute in functions)) for key, group in sorted_groups]


def _counted(counts: Counter[Any], functions: int) -> list[AggregateRow]:
    """Return the groups by one part of which each function counts the rows."""
    values = sorted(counts, key=lambda value: () if value is None else (value,))
    return [(value, *(counts[value],) * functions) for value in values]


def _key_part(table: Table[Any], group: str | Bucket) -> Callable[[Row], Any]:
    """Return the function that computes one part of a row's group key."""
    if not isinstance(group, Bucket):
        return itemgetter(table.positions[group])
    position, width = table.positions[group.field], group.width

    def rounded_down(row: Row) -> int | None:
        value: Any = row[position]
        return None if value is None else value // width * width

    return rounded_down


def _sort_key(table: Table[Any], place: int, group: str | Bucket) -> Callable[[tuple[Any, list[Row]]], Any]:
    """Return the function that computes a group's sort key for one part of the group key."""
    if isinstance(group, Bucket):
        return lambda found: () if found[0][place] is None else (found[0][place],)
    in_order = order_key(table, (Order(group),))
    return lambda found: in_order(found[1][0])


def _function(table: Table[Any], function: AggregateFunction) -> Callable[[Sequence[Row]], Any]:
    if function.field is None:
        return len
    compute = _computation(function)
    if isinstance(function.field, Elapsed):
        value_of = _elapsed(table, function.field)
    else:
        value_of = itemgetter(table.positions[function.field])
        is_real = table.column(function.field).kind is Kind.REAL
        if function.name == "sum" and not is_real:
            compute = sum
    has_empty_value = function.name == "count"

    def compute_field(rows: Sequence[Row]) -> Any:
        values = [value for row in rows if (value := value_of(row)) is not None]
        return compute(values) if values or has_empty_value else None

    return compute_field


def _elapsed(table: Table[Any], elapsed: Elapsed) -> Callable[[Row], int | None]:
    """Return the function that computes the time elapsed between fields of a row."""
    first, *others = [table.positions[field] for field in elapsed.since]
    end = table.positions[elapsed.until]

    def between(row: Row) -> int | None:
        since: Any = row[first]
        until: Any = row[end]
        if since is None or until is None:
            return None
        latest: int = max([since, *[row[other] for other in others if row[other] is not None]])
        return int(until - latest)

    return between


def _computation(function: AggregateFunction) -> Callable[[Sequence[Any]], Any]:
    if function.name != "percentile":
        return _FUNCTIONS[function.name]
    assert function.fraction is not None
    return partial(percentile_of, fraction=function.fraction)


def _sum(values: Sequence[Any]) -> float:
    try:
        return math.fsum(values)
    except OverflowError:
        # fsum raises if the sum exceeds a double; SQL returns infinity.
        return float(sum(values))


def _average(values: Sequence[Any]) -> float:
    return _sum(values) / len(values)


_FUNCTIONS: dict[str, Callable[[Sequence[Any]], Any]] = {
    "count": len,
    "avg": _average,
    "min": min,
    "max": max,
    "sum": _sum,
}
