"""Evaluates queries over the rows of a source."""

import heapq
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import islice
from typing import Any

from swarm_persistence.engines.rows.plans import Plan, Planner
from swarm_persistence.engines.rows.sources import Source
from swarm_persistence.query.laws import order_key, predicate_of, sorted_rows
from swarm_persistence.query.query import Query
from swarm_persistence.schema.codec import Row, codec_of
from swarm_persistence.schema.tables import M, Table

_FEW_ROWS = 1000


def plan_of(query: Query[Any]) -> Plan:
    """Return the way to a query's rows."""
    return _planner_of(query.table).plan(query)


def rows_of(source: Source, query: Query[Any]) -> list[Row]:
    """Return the rows that a query finds, in its full order and within its bounds."""
    plan = plan_of(query)
    rows = _fulfilling(source, plan)
    first = min(query.offset, sys.maxsize)
    end = None if query.limit is None else min(query.offset + query.limit, sys.maxsize)
    if plan.is_sorted:
        return list(islice(rows, first, end))
    if end is not None and end <= _FEW_ROWS:
        return heapq.nsmallest(end, rows, order_key(query.table, query.full_order))[first:]
    return sorted_rows(query, rows)[first:end]


def matching_rows(source: Source, query: Query[Any]) -> list[Row]:
    """Return the rows that fulfil a query's conditions, in any order; its bounds do not count."""
    return list(_fulfilling(source, _unbounded_plan(query)))


def count_of(source: Source, query: Query[Any]) -> int:
    """Count the rows that fulfil a query's conditions; its bounds do not count."""
    plan = _unbounded_plan(query)
    return sum(1 for _ in _fulfilling(source, plan)) if plan.residue else source.count(plan)


@cache
def _planner_of(table: Table[Any]) -> Planner:
    return Planner(table)


def _unbounded_plan(query: Query[Any]) -> Plan:
    return plan_of(Query(query.table, query.conditions) if query.order else query)


def _fulfilling(source: Source, plan: Plan) -> Iterator[Row]:
    rows = source.scan(plan)
    return filter(predicate_of(source.table, plan.residue), rows) if plan.residue else rows


def page_of(table: Table[M], rows: Sequence[Row]) -> tuple[list[M], int]:
    """Return the records of rows, and the sequence of the last one; 0 if there is none."""
    last: Any = rows[-1][-1] if rows else 0
    return [*map(codec_of(table.model).decode, rows)], last
