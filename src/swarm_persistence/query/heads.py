"""Splits a query for several values of a column into one query for each, whose rows an index gives in order."""

from typing import Any

import msgspec

from swarm_persistence.query.query import Condition, Order, Query
from swarm_persistence.schema.tables import SEQUENCE

MOST_HEADS = 100
"""Above so many values, one pass over all rows is the better way (and SQLite joins 500 selects at most)."""


def heads_of(query: Query[Any]) -> list[Query[Any]] | None:
    """Return one query for each value, or `None` if that would not help.

    The first rows of all of them, merged in the query's order, are the query's first rows. So an index that begins with
    the column gives them at once, however many rows of other values lie between.
    """
    if query.limit is None or query.offset:
        return None
    heads = parts_of(query)
    return heads if heads is not None and len(heads) <= MOST_HEADS else None


def walks_of(query: Query[Any]) -> list[Query[Any]] | None:
    """Return one query for each value of a walk along the arrivals, or `None` if no index gives them in this order."""
    if not query.order or query.order[0] != Order(SEQUENCE):
        return None
    heads = heads_of(query)
    if heads is None:
        return None
    (field,) = {one.field for one, several in zip(heads[0].conditions, query.conditions, strict=True) if one != several}
    return heads if any(index.columns == (field,) and not index.where for index in query.table.indexes) else None


def parts_of(query: Query[Any]) -> list[Query[Any]] | None:
    """Return one query for each value, which together find the query's rows, or `None` if that would not help."""
    for place, condition in enumerate(query.conditions):
        if condition.operator == "IN" and _is_served(query, condition.field):
            candidates: Any = condition.value
            values = tuple(dict.fromkeys(value for value in candidates if value is not None))
            return [_for_value(query, place, Condition(condition.field, "=", value)) for value in values] or None
    return None


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
