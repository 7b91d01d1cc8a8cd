"""Computes numbers about groups of rows, as SQL does."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from swarm_persistence.engines.interface import Aggregate, AggregateRow, Function
from swarm_persistence.engines.rows.evaluator import matching_rows
from swarm_persistence.engines.rows.sources import Source
from swarm_persistence.query.laws import order_key
from swarm_persistence.query.query import Order
from swarm_persistence.schema.codec import Row
from swarm_persistence.schema.tables import Kind, Table


def aggregate_rows(source: Source, aggregate: Aggregate) -> list[AggregateRow]:
    """Return one row per group, sorted by the grouping fields, null first; with nothing to group by, one row."""
    table = source.table
    functions = [_function(table, function) for function in aggregate.functions]
    rows = matching_rows(source, aggregate.query)
    if not aggregate.group_by:
        return [tuple(compute(rows) for compute in functions)]
    positions = [table.positions[field] for field in aggregate.group_by]
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple([row[position] for position in positions]), []).append(row)
    in_order = order_key(table, tuple(Order(field) for field in aggregate.group_by))
    sorted_groups = sorted(groups.items(), key=lambda group: in_order(group[1][0]))
    return [(*key, *(compute(group) for compute in functions)) for key, group in sorted_groups]


def _function(table: Table[Any], function: Function) -> Callable[[Sequence[Row]], Any]:
    if function.field is None:
        return len
    position = table.positions[function.field]
    compute = _FUNCTIONS[function.name]
    is_real = table.column(function.field).kind is Kind.REAL
    if function.name == "sum" and not is_real:
        compute = sum
    has_empty_value = function.name == "count"

    def compute_field(rows: Sequence[Row]) -> Any:
        values = [row[position] for row in rows if row[position] is not None]
        return compute(values) if values or has_empty_value else None

    return compute_field


def _sum(values: Sequence[Any]) -> float:
    try:
        return math.fsum(values)
    except OverflowError:
        # fsum refuses what lies beyond a double; SQL gives an infinity.
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
