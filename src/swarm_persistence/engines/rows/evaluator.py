"""Evaluates queries over the rows of a source."""

import heapq
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import islice
from typing import Any

import msgspec

from swarm_persistence.engines.rows.planner import AccessPath, Planner
from swarm_persistence.engines.rows.row_source import RowSource
from swarm_persistence.query.query import Condition, FromNow, Query, Subquery
from swarm_persistence.query.semantics import order_key, predicate_of, sorted_rows
from swarm_persistence.query.split_in import split_for_merge, split_in
from swarm_persistence.schema.codec import Row, codec_of
from swarm_persistence.schema.tables import M, Table

_FEW_ROWS = 1000


def settled(query: Query[M], source_of: Callable[[Table[Any]], RowSource]) -> Query[M]:
    """Return the query with the values that its conditions take from the clock and from other rows."""
    if not any(isinstance(condition.value, FromNow | Subquery) for condition in query.conditions):
        return query
    conditions = tuple([_settled(condition, source_of) for condition in query.conditions])
    return msgspec.structs.replace(query, conditions=conditions)


def _settled(condition: Condition, source_of: Callable[[Table[Any]], RowSource]) -> Condition:
    value = condition.value
    if isinstance(value, FromNow):
        return condition._replace(value=value.moment())
    if isinstance(value, Subquery):
        inner = settled(value.query, source_of)
        position = inner.table.positions[value.field]
        rows = matching_rows(source_of(inner.table), inner)
        return Condition(condition.field, "IN", tuple([row[position] for row in rows]))
    return condition


def access_path_of(query: Query[Any]) -> AccessPath:
    """Return the way to a query's rows."""
    return _planner_of(query.table).plan(query)


def rows_of(source: RowSource, query: Query[Any]) -> list[Row]:
    """Return the rows that a query finds, in its full order and within its bounds."""
    heads = split_for_merge(query)
    if heads is not None:
        return _first_of_all(source, query, heads)
    path = access_path_of(query)
    parts = _branches_of(query, path)
    rows = _fulfilling(source, path) if parts is None else _fulfilling_any(source, parts)
    first = min(query.offset, sys.maxsize)
    end = None if query.limit is None else min(query.offset + query.limit, sys.maxsize)
    if path.is_sorted and parts is None:
        return list(islice(rows, first, end))
    if end is not None and end <= _FEW_ROWS:
        return heapq.nsmallest(end, rows, order_key(query.table, query.full_order))[first:]
    return sorted_rows(query, rows)[first:end]


def _first_of_all(source: RowSource, query: Query[Any], heads: list[Query[Any]]) -> list[Row]:
    rows = heapq.merge(*(rows_of(source, head) for head in heads), key=order_key(query.table, query.full_order))
    return list(islice(rows, query.limit))


def matching_rows(source: RowSource, query: Query[Any]) -> list[Row]:
    """Return the rows that fulfil a query's conditions, in any order; its bounds do not count."""
    path = _unbounded_path(query)
    parts = _branches_of(query, path)
    return list(_fulfilling(source, path) if parts is None else _fulfilling_any(source, parts))


def last_sequence_of(source: RowSource, before: int | None) -> int:
    """Return the highest sequence that a row has or had, below another one: they are counted without a gap."""
    return source.last_sequence if before is None else before - 1


def count_of(source: RowSource, query: Query[Any]) -> int:
    """Count the rows that fulfil a query's conditions; its bounds do not count."""
    path = _unbounded_path(query)
    parts = _branches_of(query, path)
    if parts is not None:
        return sum(count_of(source, part) for part in parts)
    return sum(1 for _ in _fulfilling(source, path)) if path.residual else source.count(path)


@cache
def _planner_of(table: Table[Any]) -> Planner:
    return Planner(table)


def _unbounded_path(query: Query[Any]) -> AccessPath:
    return access_path_of(Query(query.table, query.conditions) if query.order else query)


def _fulfilling(source: RowSource, path: AccessPath) -> Iterator[Row]:
    rows = source.scan(path)
    return filter(predicate_of(source.table, path.residual), rows) if path.residual else rows


def _branches_of(query: Query[Any], path: AccessPath) -> list[Query[Any]] | None:
    """Return one query for each of several values, where else all rows would have to be looked at."""
    is_narrow = path.ids is not None or path.equal or path.lower or path.upper
    return None if is_narrow or not path.residual else split_in(query)


def _fulfilling_any(source: RowSource, queries: Sequence[Query[Any]]) -> Iterator[Row]:
    return (row for query in queries for row in _fulfilling(source, _unbounded_path(query)))


def columns_of_rows(table: Table[Any], rows: Sequence[Row], fields: tuple[str, ...]) -> list[Row]:
    """Return some columns of rows."""
    positions = [table.positions[field] for field in fields]
    return [tuple([row[position] for position in positions]) for row in rows]


def page_of(table: Table[M], rows: Sequence[Row]) -> tuple[list[M], int]:
    """Return the records of rows, and the sequence of the last one; 0 if there is none."""
    last: Any = rows[-1][-1] if rows else 0
    return [*map(codec_of(table.model).decode, rows)], last
