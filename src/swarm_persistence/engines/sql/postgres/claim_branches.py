"""Splits a claim of several types into one query for each, whose rows the server merges.

Claims that skip dead entries begin at a lower bound of each priority. Most tasks have been ready since they were
stored, and lie above it. The others are found through an index of their own, wherever they are: see version 12 of the
schema.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from swarm_persistence.engines.sql.postgres.dialect import PostgresDialect
from swarm_persistence.engines.sql.postgres.migrations.m0012_ready_again import ARRIVAL, IS_READY_AGAIN
from swarm_persistence.query.query import Condition, Order, Query
from swarm_persistence.query.split_in import split_for_merge
from swarm_persistence.query.text import Marks
from swarm_persistence.schema.tables import IS_DELAYED, SEQUENCE, TASKS, UNMET_DEPENDENCIES
from swarm_persistence.schema.values import ColumnValue


class Merge(NamedTuple):
    """A query for several values of a field, split into one for each; `rest` are its other conditions."""

    field: str
    branches: list[Query[Any]]
    rest: Query[Any]


def merge_of(query: Query[Any], fewest: int = 2) -> Merge | None:
    """Split a query; return `None` if it has fewer values than `fewest`, or is better left whole."""
    branches = split_for_merge(query)
    if branches is None or len(branches) < fewest:
        return None
    branches = [msgspec.structs.replace(branch, limit=None) for branch in branches]
    pairs = enumerate(zip(query.conditions, branches[0].conditions, strict=True))
    place, condition = next((place, several) for place, (several, one) in pairs if several != one)
    others = (*query.conditions[:place], *query.conditions[place + 1 :])
    # Pad the values with nulls, which match nothing, so that few statements are prepared.
    nothing = (*query.conditions[:place], Condition(condition.field, "="), *query.conditions[place + 1 :])
    missing = power_of_two(len(branches)) - len(branches)
    branches += [msgspec.structs.replace(branches[0], conditions=nothing)] * missing
    return Merge(condition.field, branches, msgspec.structs.replace(query, conditions=others, limit=None))


def power_of_two(least: int) -> int:
    """Return the lowest power of two that is not below a number."""
    return 1 << (least - 1).bit_length()


PRIORITIES = tuple(reversed(range(len(TASKS.column("priority").choices or ()))))
"""All of them, the most urgent first."""

INDEX_OF_TYPES = "tasks_ready_by_type"

_ORDER = (Order("priority", is_descending=True), Order(SEQUENCE))
_READY = next(
    tuple(Condition(field, "=", value) for field, value in index.where)
    for index in TASKS.indexes
    if index.name == INDEX_OF_TYPES
)
# Not `= 0`: without statistics, the planner might take the index of all pending tasks and scan other types.
_IS_READY = f"status = 'pending' AND {UNMET_DEPENDENCIES} = ANY('{{0}}') AND {IS_DELAYED} = false"

_MOST_TYPES = 8
"""Each type is searched in both indexes, at each priority."""


def types_of_claim(query: Query[Any]) -> tuple[ColumnValue, ...]:
    """Return the types of a claim of ready tasks by type in order of urgency; empty for any other claim."""
    ready, others = query.conditions[: len(_READY)], query.conditions[len(_READY) :]
    if query.table is not TASKS or query.order != _ORDER or ready != _READY or len(others) != 1:
        return ()
    field, operator, value = others[0]
    if field != "task_type" or operator not in ("=", "IN"):
        return ()
    types: Any = value if operator == "IN" else (value,)
    return tuple(types) if len(types) <= _MOST_TYPES else ()


def of_types(query: Query[Any], types: tuple[ColumnValue, ...]) -> Query[Any]:
    """Return the query of such a claim, in one form for one type and for several."""
    return msgspec.structs.replace(query, conditions=(*_READY, Condition("task_type", "IN", types)))


def bounded_branches(dialect: PostgresDialect, count: int, most: int, marks: Marks) -> str:
    """Return the text that selects the first rows of so many types; its placeholders take `bounded_values`."""
    # Values that the planner does not know: it would plan each claim anew if it took those it knows for fewer rows.
    types = [f"(SELECT {marks.next()}::text)" for _ in range(power_of_two(count))]
    limit = f"LIMIT (SELECT {most})"
    of_priorities = [_of_priority(dialect, priority, types, limit, marks) for priority in PRIORITIES]
    order = "ORDER BY head_priority DESC, head_sequence"
    return "\n  ".join(["\n  UNION ALL ".join(of_priorities), order, limit])


def bounded_values(types: Sequence[ColumnValue], bounds: Sequence[int]) -> list[ColumnValue]:
    """Return the types, padded with nulls, and the lower bound of each priority."""
    return [*types, *[None] * (power_of_two(len(types)) - len(types)), *bounds]


def _of_priority(dialect: PostgresDialect, priority: int, types: Sequence[str], limit: str, marks: Marks) -> str:
    table, bound = dialect.table(TASKS), f"(SELECT {marks.next()}::bigint)"
    branches = []
    for each in types:
        fits = f"{dialect.comparison('task_type', '=', each)} AND priority = {priority}"
        columns = f"task_type AS head_task_type, {priority} AS head_priority"
        branches += [
            f"(SELECT {SEQUENCE} AS head_sequence, {columns} FROM {table} "
            f"WHERE {_IS_READY} AND {fits} AND {SEQUENCE} >= {bound} ORDER BY {SEQUENCE} {limit})",
            f"(SELECT {ARRIVAL} AS head_sequence, {columns} FROM {table} "
            f"WHERE {IS_READY_AGAIN} AND {fits} AND {ARRIVAL} < {bound} ORDER BY {ARRIVAL} {limit})",
        ]
    return "(" + "\n    UNION ALL ".join(branches) + f"\n    ORDER BY head_sequence {limit})"
