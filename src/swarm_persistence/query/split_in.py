"""Splits a query with an `IN` condition into one branch per value, each of which an index serves in order."""

from typing import Any

import msgspec

from swarm_persistence.query.query import Condition, Order, Query
from swarm_persistence.schema.tables import SEQUENCE

MAX_BRANCHES = 100
"""Above this number of values, one pass over all rows is faster (and SQLite joins 500 selects at most)."""


def split_in(query: Query[Any]) -> list[Query[Any]] | None:
    """Return one query per value, which together find the query's rows; `None` if no index serves them."""
    for place, condition in enumerate(query.conditions):
        if condition.operator == "IN" and _is_served(query, condition.field):
            candidates: Any = condition.value
            values = tuple(dict.fromkeys(value for value in candidates if value is not None))
            return [_for_value(query, place, Condition(condition.field, "=", value)) for value in values] or None
    return None


def split_for_merge(query: Query[Any]) -> list[Query[Any]] | None:
    """Return one query per value, whose merged results begin with the query's rows; `None` if that would not help.

    An index that begins with the column gives the first rows of each value at once, however many rows of other values
    lie between them.
    """
    if query.limit is None or query.offset:
        return None
    branches = split_in(query)
    return branches if branches is not None and len(branches) <= MAX_BRANCHES else None


def split_arrival_scan(query: Query[Any]) -> list[Query[Any]] | None:
    """Return one query per value of a scan in order of arrival; `None` if no index yields them in this order."""
    if not query.order or query.order[0] != Order(SEQUENCE):
        return None
    branches = split_for_merge(query)
    if branches is None:
        return None
    pairs = zip(branches[0].conditions, query.conditions, strict=True)
    (field,) = {one.field for one, several in pairs if one != several}
    has_index = any(index.columns == (field,) and not index.where for index in query.table.indexes)
    return branches if has_index else None


def _is_served(query: Query[Any], field: str) -> bool:
    """Tell whether an index that holds all of the query's rows begins with the field."""
    return field in query.table.leading_fields and any(
        index.columns[0] == field
        and index.present in (None, field)
        and all(Condition(limiting, "=", value) in query.conditions for limiting, value in index.where)
        for index in query.table.indexes
    )


def _for_value(query: Query[Any], place: int, condition: Condition) -> Query[Any]:
    conditions = (*query.conditions[:place], condition, *query.conditions[place + 1 :])
    return msgspec.structs.replace(query, conditions=conditions)
