"""Evaluates queries on the rows of a source."""

import heapq
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import islice
from typing import Any

import msgspec

from swarm_persistence.clock import microseconds, now
from swarm_persistence.engines.rows.planner import AccessPath, Bound, Planner, columns_of
from swarm_persistence.engines.rows.row_source import RowSource
from swarm_persistence.query.query import Condition, FromNow, Query, Subquery
from swarm_persistence.query.semantics import order_key, predicate_of, sorted_rows
from swarm_persistence.query.split_in import split_for_merge, split_in
from swarm_persistence.schema.codec import Row
from swarm_persistence.schema.tables import LARGE_KINDS, Kind, M, Table

_FEW_ROWS = 1000


def resolved(query: Query[M], source_of: Callable[[Table[Any]], RowSource]) -> Query[M]:
    """Return the query with times and subqueries in its conditions replaced by their values."""
    if not any(isinstance(condition.value, FromNow | Subquery) for condition in query.conditions):
        return query
    conditions = tuple([_resolved(condition, source_of) for condition in query.conditions])
    return msgspec.structs.replace(query, conditions=conditions)


def _resolved(condition: Condition, source_of: Callable[[Table[Any]], RowSource]) -> Condition:
    value = condition.value
    if isinstance(value, FromNow):
        return condition._replace(value=value.moment())
    if isinstance(value, Subquery):
        inner = resolved(value.query, source_of)
        position = inner.table.positions[value.field]
        rows = matching_rows(source_of(inner.table), inner)
        return Condition(condition.field, "IN", tuple([row[position] for row in rows]))
    return condition


def access_path_of(query: Query[Any]) -> AccessPath:
    """Return the access path of a query."""
    return _planner_of(query.table).plan(query)


_planner_of = cache(Planner)


def rows_of(source: RowSource, query: Query[Any]) -> list[Row]:
    """Return the rows of a query, in its full order, with its limit and offset applied."""
    branches = split_for_merge(query)
    if branches is not None:
        return _merged(source, query, branches)
    path = access_path_of(query)
    branches = _branches_of(query, path)
    rows = _matching(source, path) if branches is None else _matching_any(source, branches)
    first = min(query.offset, sys.maxsize)
    end = None if query.limit is None else min(query.offset + query.limit, sys.maxsize)
    if path.is_sorted and branches is None:
        return list(islice(rows, first, end))
    if end is not None and end <= _FEW_ROWS:
        return heapq.nsmallest(end, rows, order_key(query.table, query.full_order))[first:]
    return sorted_rows(query, rows)[first:end]


def steps_above(source: RowSource, query: Query[Any], above: Condition) -> Callable[[Any], Row | None] | None:
    """Return the function that finds the first row of a query with another value in its condition `above`, a `>`.

    It spares planning the query anew; `None` if the condition does not bound a path in the query's order.
    """
    path = access_path_of(query)
    is_bound = path.lower == (above.value, False) and above not in path.residual
    if not (path.ids is None and path.is_sorted and is_bound and split_for_merge(query) is None):
        return None
    if columns_of(path.index)[len(path.equal)].field != above.field:
        return None

    def first_above(value: Any) -> Row | None:
        return next(_matching(source, msgspec.structs.replace(path, lower=Bound(value, is_inclusive=False))), None)

    return first_above


def _merged(source: RowSource, query: Query[Any], branches: list[Query[Any]]) -> list[Row]:
    rows = heapq.merge(*(rows_of(source, branch) for branch in branches), key=order_key(query.table, query.full_order))
    return list(islice(rows, query.limit))


def matching_rows(source: RowSource, query: Query[Any]) -> list[Row]:
    """Return the rows that match a query's conditions, in any order; its limit and offset are ignored."""
    path = _unbounded_path(query)
    branches = _branches_of(query, path)
    return list(_matching(source, path) if branches is None else _matching_any(source, branches))


def count_of(source: RowSource, query: Query[Any]) -> int:
    """Count the rows that match a query's conditions; its limit and offset are ignored."""
    path = _unbounded_path(query)
    branches = _branches_of(query, path)
    if branches is not None:
        return sum(count_of(source, branch) for branch in branches)
    return sum(1 for _ in _matching(source, path)) if path.residual else source.count(path)


def _unbounded_path(query: Query[Any]) -> AccessPath:
    return access_path_of(Query(query.table, query.conditions) if query.order else query)


def _matching(source: RowSource, path: AccessPath) -> Iterator[Row]:
    rows = source.scan(path)
    return filter(predicate_of(source.table, path.residual), rows) if path.residual else rows


def _branches_of(query: Query[Any], path: AccessPath) -> list[Query[Any]] | None:
    """Return one query per `IN` value if the access path would otherwise scan all rows."""
    is_narrow = path.ids is not None or path.equal or path.lower or path.upper
    return None if is_narrow or not path.residual else split_in(query)


def _matching_any(source: RowSource, queries: Sequence[Query[Any]]) -> Iterator[Row]:
    return (row for query in queries for row in _matching(source, _unbounded_path(query)))


def has_expired(table: Table[Any], row: Row) -> bool:
    """Tell whether the expiry of a row has passed."""
    moment: Any = None if table.expiry is None else row[table.positions[table.expiry]]
    return moment is not None and bool(moment <= microseconds(now()))


def size_of(table: Table[Any], row: Row, kinds: frozenset[Kind] = LARGE_KINDS) -> int:
    """Return the bytes of the columns of a row that are of some kinds."""
    values: Any = row
    return sum(len(value or b"") for value, column in zip(values, table.columns, strict=False) if column.kind in kinds)
