"""Random rows, conditions and queries of one table, from pools so small that they meet; and a plain way to answer."""

from collections.abc import Iterable
from functools import cmp_to_key
from typing import Any

from hypothesis import strategies as st

from swarm_persistence.engines.rows.planner import indexes_of
from swarm_persistence.models import TaskModel, TaskStatus
from swarm_persistence.query.query import Condition, Operator, Order, Query
from swarm_persistence.schema.codec import Row
from swarm_persistence.schema.tables import (
    BINARY_KINDS,
    JSON_KINDS,
    MESSAGES,
    SEQUENCE,
    TABLES,
    Column,
    Index,
    Kind,
    Table,
)

TEXTS = ("", "a", "B", "b")
NUMBERS = (0, 1, 2)
STATUSES = (TaskStatus.PENDING.value, TaskStatus.RUNNING.value)
IDS = tuple("pqrstuvw")

UNUSUAL = Table(
    "tasks",
    TaskModel,
    Index("by_error", ("-error", "assigned_to")),
    Index("by_status", ("status", "-assigned_to", "-retry_count")),
    Index("by_pair", ("task_type|status", "-started_at", "id")),
    Index("running", ("-task_type", "-started_at"), where=(("status", "running"),)),
    Index("failed", ("-task_type",), where=(("status", "running"), ("retry_count", 1))),
    Index("with_error", ("error", "-priority"), present="error"),
    Index("by_priority", ("-priority",)),
)
"""A table with indexes such as no model has yet."""

tables: st.SearchStrategy[Table[Any]] = st.sampled_from([*TABLES, UNUSUAL])


def values_of(table: Table[Any], row: Row) -> dict[str, Any]:
    return dict(zip(table.positions, row, strict=True))


def pool_of(column: Column) -> tuple[Any, ...]:
    if column.name == "id":
        return IDS
    if column.kind in JSON_KINDS:
        return ("{}", "[]")
    if column.kind in BINARY_KINDS:
        return (b"", b"\0\xff")
    if column.kind is Kind.CHOICE:
        return STATUSES
    if column.kind is Kind.FLAG:
        return (0, 1)
    if column.kind is Kind.REAL:
        return (-1.5, 0.0, 2.0)
    return TEXTS if column.kind in (Kind.TEXT, Kind.PATH) else NUMBERS


def column_values(column: Column) -> st.SearchStrategy[Any]:
    pool = st.sampled_from(pool_of(column))
    return st.none() | pool if column.is_nullable else pool


def rows(table: Table[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    """Return the values of a row, without its sequence."""
    return st.tuples(st.sampled_from(IDS), *(column_values(column) for column in (*table.columns[1:], *table.hidden)))


def conditions(table: Table[Any]) -> st.SearchStrategy[Condition]:
    columns = (*table.columns, *table.hidden)
    kinds = [st.sampled_from(columns).flatmap(_condition), st.builds(_by_arrival, st.sampled_from("=<>"))]
    if table is MESSAGES:
        pair = st.tuples(st.sampled_from(TEXTS), st.sampled_from(TEXTS))
        kinds.append(st.builds(Condition, st.just("from_agent|to_agent"), st.just("PAIR"), pair))
    # The conditions that indexes serve, more often than chance would have it.
    indexed = {field.lstrip("-") for index in table.indexes for field in index.columns if "|" not in field}
    kinds += [_condition(column) for column in columns if column.name in indexed]
    kinds += [st.just(Condition(field, "=", value)) for index in table.indexes for field, value in index.where]
    return st.one_of(kinds)


def _by_arrival(operator: Any) -> Condition:
    return Condition(SEQUENCE, operator, 4)


def _condition(column: Column) -> st.SearchStrategy[Condition]:
    name = st.just(column.name)
    null_tests = st.builds(Condition, name, st.sampled_from(["IS NULL", "IS NOT NULL"]), st.none())
    if not column.is_comparable:
        return null_tests
    value = st.sampled_from(pool_of(column))
    comparison: st.SearchStrategy[Any] = st.sampled_from(["=", "=", "=", "<>", "<", "<=", ">", ">="])
    several = st.lists(st.none() | value, max_size=3).map(tuple)
    return st.one_of(
        st.builds(Condition, name, comparison, value),
        st.builds(Condition, name, comparison, st.none() | value),
        st.builds(Condition, name, st.just("IN"), several),
        null_tests,
    )


def queries(table: Table[Any]) -> st.SearchStrategy[Query[Any]]:
    names = [column.name for column in (*table.columns, *table.hidden) if column.is_comparable]
    order = st.builds(Order, st.sampled_from([*names, SEQUENCE]), st.booleans())
    return st.builds(
        Query,
        st.just(table),
        st.lists(conditions(table), max_size=3).map(tuple),
        st.lists(order, max_size=3).map(tuple),
        limits,
        offsets,
    ) | along_indexes(table)


_RANGES: list[list[Operator]] = [[], ["<"], ["<="], [">"], [">="], [">", "<="], [">=", "<"]]
limits = st.none() | st.integers(0, 5)
offsets = st.sampled_from([0, 0, 1, 3])


@st.composite
def along_indexes(draw: st.DrawFn, table: Table[Any]) -> Query[Any]:
    """Draw a query that an index serves: equal values, then a range, then the rest of its columns as the order."""
    index = draw(st.sampled_from(indexes_of(table)))
    fulfilled = [Condition(field, "=", value) for field, value in index.where]
    if index.present is not None:
        fulfilled.append(Condition(index.present, "IS NOT NULL"))
    equal = draw(st.integers(0, len(index.columns)))
    fulfilled += [draw(_equality(table, text.lstrip("-"))) for text in index.columns[:equal]]
    rest = [(text.lstrip("-"), text.startswith("-")) for text in index.columns[equal:] if "|" not in text]
    if rest:
        column = table.column(rest[0][0])
        operators = draw(st.sampled_from(_RANGES))
        fulfilled += [Condition(column.name, each, draw(st.sampled_from(pool_of(column)))) for each in operators]
    is_turned = draw(st.booleans())
    order = tuple(Order(field, is_descending != is_turned) for field, is_descending in rest)
    return Query(table, tuple(draw(st.permutations(fulfilled))), order, draw(limits), draw(offsets))


def _equality(table: Table[Any], field: str) -> st.SearchStrategy[Condition]:
    if "|" in field:
        first, second = (st.sampled_from(pool_of(table.column(name))) for name in field.split("|"))
        return st.builds(Condition, st.just(field), st.just("PAIR"), st.tuples(first, second))
    column = table.column(field)
    value = st.sampled_from(pool_of(column))
    equal = st.builds(Condition, st.just(field), st.just("="), value)
    # One of several values: the rows of each come from the index, and are merged.
    equal |= st.builds(Condition, st.just(field), st.just("IN"), st.lists(value, max_size=3).map(tuple))
    return equal | st.just(Condition(field, "IS NULL")) if column.is_nullable else equal


def plain_answer(query: Query[Any], candidates: Iterable[Row]) -> list[Row]:
    """Answer a query the slow way, with no code of the engine."""
    found = [row for row in candidates if all(_holds(query.table, row, condition) for condition in query.conditions)]
    found.sort(key=cmp_to_key(lambda one, other: _compare(query, one, other)))
    end = None if query.limit is None else query.offset + query.limit
    return found[query.offset : end]


def _compare(query: Query[Any], one: Row, other: Row) -> int:
    arrival = Order(SEQUENCE, bool(query.order) and query.order[-1].is_descending)
    for term in (*query.order, arrival):
        place = query.table.positions[term.field]
        if sign := _sign(one[place], other[place]):
            return -sign if term.is_descending else sign
    return 0


def _sign(one: Any, other: Any) -> int:
    if one is None or other is None:
        return (one is not None) - (other is not None)
    return int(one > other) - int(one < other)


def _holds(table: Table[Any], row: Row, condition: Condition) -> bool:
    field, operator, wanted = condition
    held = values_of(table, row)
    if operator == "PAIR":
        first, second = field.split("|")
        return {(held[first], held[second])} <= {wanted, wanted[::-1]}  # type: ignore[index]
    value = held[field]
    if operator in ("IS NULL", "IS NOT NULL"):
        return (value is None) == (operator == "IS NULL")
    if value is None or wanted is None:
        return False
    if operator == "IN":
        return value in [one for one in wanted if one is not None]  # type: ignore[union-attr]
    sign = _sign(value, wanted)
    return {"=": sign == 0, "<>": sign != 0, "<": sign < 0, "<=": sign <= 0, ">": sign > 0, ">=": sign >= 0}[operator]
