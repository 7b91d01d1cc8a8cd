"""Compiles a query to SQL text, and collects its values; covers the differences of dialects.

Text and values are built separately, so that an engine can cache the text of a query's shape.
"""

from collections.abc import Iterable, Sequence
from itertools import count
from typing import Any

from swarm_persistence.query.json_tests import JsonTest, json_condition, json_values
from swarm_persistence.query.query import Condition, FromNow, Order, Query, Subquery, pair_of
from swarm_persistence.schema.tables import CHANGE_NUMBER, SEQUENCE, Column, Table
from swarm_persistence.schema.values import ColumnValue

_RESERVED = frozenset({"group"})
"""Fields whose names are keywords of SQL."""


def quoted(name: str) -> str:
    """Return the name of a column as it stands in a statement."""
    return f'"{name}"' if name in _RESERVED else name


def listed(names: Iterable[str], prefix: str = "") -> str:
    """Return column names as a list in a statement, each with a prefix."""
    return ", ".join([prefix + quoted(name) for name in names])


class Dialect:
    """The SQL that differs between databases. This base class is the dialect of `QueryBuilder.build`."""

    has_literals = False
    """Whether a value that limits a partial index is written into the text: only then can a database's planner use the
    index. There are few such values, and none comes from a caller."""

    def placeholder(self, position: int) -> str:
        """Return the placeholder of the value at this position, counted from 1."""
        return "?"

    def pair(self, field: str) -> tuple[str, str]:
        """Return the expressions for the lower and the higher of two columns."""
        first, second = pair_of(field)
        return f"min({first}, {second})", f"max({first}, {second})"

    def higher(self, first: str, second: str) -> str:
        """Return the expression of the maximum of two values."""
        return f"max({first}, {second})"

    def contains(self, field: str, candidates: Sequence[ColumnValue], marks: "Marks") -> str:
        """Return the condition that a column has one of the candidates."""
        return f"{quoted(field)} IN ({', '.join(marks.next() for _ in candidates)})"

    def candidates(self, candidates: Sequence[ColumnValue]) -> Sequence[ColumnValue]:
        """Return the values of the placeholders of `contains`."""
        return candidates

    def unindexed(self, field: str) -> str:
        """Return a field as an expression that no index is used for."""
        return quoted(field)

    def candidates_shape(self, candidates: Sequence[ColumnValue]) -> object:
        """Return the part of the candidates that the text of `contains` depends on."""
        return len(candidates)

    def table(self, table: Table[Any]) -> str:
        """Return the name of a table in statements; its columns are qualified by its plain name."""
        return table.name

    def floor(self, table: Table[Any]) -> str:
        """Return the name of the table that stores the highest sequence of a table's deleted rows."""
        assert table.floor is not None
        return table.floor

    def comparison(self, field: str, operator: str, mark: str) -> str:
        """Return the comparison of a column with a value."""
        return f"{quoted(field)} {operator} {mark}"

    def beyond(self, field: str, mark: str) -> str:
        """Return the condition that a column's value sorts after another one in an index."""
        return f"{quoted(field)} > {mark}"

    def has_tag(self, field: str, first: str, other: str) -> str:
        """Return the condition that a JSON text begins with one text or contains another one."""
        return f"(instr({field}, {first}) = 1 OR instr({field}, {other}) > 0)"

    def passes(self, field: str, test: JsonTest, marks: "Marks") -> str:
        """Return the condition that a column's JSON passes a test; `test_values` are the values of its placeholders."""
        return json_condition(quoted(field), test, marks.next)

    def test_values(self, test: JsonTest) -> Sequence[ColumnValue]:
        """Return the values of the placeholders of `passes`."""
        return json_values(test)

    def of_one_row(self, conditions: Sequence[str], place: int) -> str:
        """Return conditions of which the one at this position identifies the row."""
        return " AND ".join(conditions)

    def size(self, column: Column) -> str:
        """Return the expression of the bytes of a column, which reads the column only if the database must."""
        return f"octet_length({quoted(column.name)})"

    def whole_sum(self, name: str) -> str:
        """Return the sum of a whole number as one."""
        return f"sum({name})"

    def literal(self, column: Column, value: object) -> str:
        """Return a value as a literal: an enum's text, or a small number."""
        return f"'{value}'" if isinstance(value, str) else str(value)

    def limit(self, mark: str) -> str:
        """Return the LIMIT clause."""
        return f"LIMIT {mark}"

    def function(self, table: Table[Any], name: str, field: str | None) -> str:
        """Return the call of an aggregate function."""
        return f"{name}({quoted(field) if field else '*'})"

    def order(self, order: Order) -> str:
        """Return one term of ORDER BY."""
        return f"{quoted(order.field)} DESC" if order.is_descending else quoted(order.field)

    def any_number_of_rows(self) -> str:
        """Return the LIMIT that an OFFSET without one needs."""
        return "LIMIT -1"

    def is_literal(self, table: Table[Any], condition: Condition) -> bool:
        """Tell whether a condition's value is a literal in the text."""
        return self.has_literals and condition.operator == "=" and condition.field in table.limiting_fields

    def microseconds(self, time: str) -> str:
        """Return the expression of a time as the microseconds since 1970."""
        return time

    def appended(self, field: str, values: Sequence[str], most: int) -> str:
        """Return the expression of a column's JSON array with an array of values as the last of its `most` elements.

        A value that is not JSON stays as it is.
        """
        room = f"CASE WHEN json_array_length({field}) < {most} THEN {field} ELSE json_remove({field}, '$[0]') END"
        longer = f"json_insert({room}, '$[#]', json_array({', '.join(values)}))"
        return f"CASE WHEN json_valid({field}) THEN {longer} ELSE {field} END"

    def text_mark(self, marks: "Marks") -> str:
        """Return the placeholder of a text where the context does not determine its type."""
        return marks.next()

    def from_now(self, moment: FromNow, marks: "Marks") -> str:
        """Return the expression of a time; `moment_values` are the values of its placeholders."""
        return marks.next()

    def moment_values(self, moment: FromNow) -> Sequence[Any]:
        """Return the values of the placeholders of `from_now`."""
        return (moment.moment(),)

    def rounded_down(self, field: str, marks: "Marks") -> str:
        """Return the expression of a value rounded down; `width_values` are the values of its placeholders."""
        return f"{field} - ({field} % {marks.next()} + {marks.next()}) % {marks.next()}"

    def width_values(self, width: int) -> Sequence[ColumnValue]:
        """Return the values of the placeholders of `rounded_down`."""
        return (width, width, width)

    def percentile(self, field: str, marks: "Marks") -> str:
        """Return the expression of a percentile; its one placeholder is the fraction."""
        return f"percentile_cont({field}, {marks.next()})"

    def elapsed(self, since: str, until: str) -> str:
        """Return the expression of the microseconds between two times."""
        return f"{until} - {since}"

    def change_number(self, table: Table[Any]) -> str:
        """Return the expression of the change number that a write sets in a row of a followed table."""
        raise NotImplementedError

    def values(self, table: Table[Any], conditions: Sequence[Condition]) -> list[ColumnValue]:
        """Return the values of the conditions' placeholders, in order."""
        values: list[ColumnValue] = []
        for condition in conditions:
            value: Any = condition.value
            operator = condition.operator
            if operator == "=":
                if not self.is_literal(table, condition):
                    values.append(value)
                continue
            match operator:
                case "IS NULL" | "IS NOT NULL":
                    pass
                case "IN":
                    values.extend(self.candidates(value))
                case "PAIR":
                    values.extend(sorted(value))
                case "TAG":
                    values.extend(value)
                case "JSON":
                    values.extend(self.test_values(value))
                case "IN SUBQUERY":
                    values.extend(self.values(value.query.table, value.query.conditions))
                case _ if isinstance(value, FromNow):
                    values.extend(self.moment_values(value))
                case _:
                    values.append(value)
        return values


class Marks:
    """Numbers the placeholders of a text."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self._positions = count(1)

    def next(self) -> str:
        """Return the placeholder of the next value."""
        return self.dialect.placeholder(next(self._positions))


def select_text(query: Query[Any], dialect: Dialect) -> tuple[str, list[ColumnValue]]:
    """Return the text of `QueryBuilder.build`, and its values."""
    clauses = [f"SELECT * FROM {query.table.name}"]
    if query.conditions:
        clauses.append(f"WHERE {where_text(query, Marks(dialect))}")
    if query.order:
        clauses.append(f"ORDER BY {', '.join(dialect.order(term) for term in query.order)}")
    if query.limit is not None:
        clauses.append(f"LIMIT {query.limit}")
    elif query.offset:
        clauses.append(dialect.any_number_of_rows())
    if query.offset:
        clauses.append(f"OFFSET {query.offset}")
    return " ".join(clauses), dialect.values(query.table, query.conditions)


def where_text(query: Query[Any], marks: Marks) -> str:
    """Return a query's conditions, joined by AND."""
    # A scan in the order of arrival or of changes must not use another index, as all its rows would be read and sorted.
    is_scan = bool(query.order) and query.order[0].field in (SEQUENCE, CHANGE_NUMBER)
    texts = [_condition_text(query.table, condition, marks, is_scan) for condition in query.conditions]
    for place, (field, operator, _) in enumerate(query.conditions):
        if field == "id" and operator == "=" and len(texts) > 1:
            return marks.dialect.of_one_row(texts, place)
    return " AND ".join(texts)


def _condition_text(table: Table[Any], condition: Condition, marks: Marks, is_scan: bool = False) -> str:
    field, operator, value = condition
    match operator:
        case "PAIR":
            low, high = marks.dialect.pair(field)
            return f"{low} = {marks.next()} AND {high} = {marks.next()}"
        case "TAG":
            return marks.dialect.has_tag(field, marks.next(), marks.next())
        case "JSON":
            assert isinstance(value, JsonTest)
            return marks.dialect.passes(field, value, marks)
        case "IS NULL" | "IS NOT NULL":
            return f"{quoted(field)} {operator}"
        case "IS NULL OR >":
            assert isinstance(value, FromNow)
            return f"({field} IS NULL OR {field} > {marks.dialect.from_now(value, marks)})"
        case "IN":
            is_unindexed = is_scan and field != "id"  # few rows have one of some ids
            return marks.dialect.contains(marks.dialect.unindexed(field) if is_unindexed else field, value, marks)  # type: ignore[arg-type]
        case "IN SUBQUERY":
            assert isinstance(value, Subquery)
            inner = value.query
            table_name = marks.dialect.table(inner.table)
            where = where_text(inner, marks)
            return f"{quoted(field)} IN (SELECT {quoted(value.field)} FROM {table_name} WHERE {where})"
    if isinstance(value, FromNow):
        return f"{field} {operator} {marks.dialect.from_now(value, marks)}"
    if marks.dialect.is_literal(table, condition):
        return f"{quoted(field)} = {marks.dialect.literal(table.column(field), value)}"
    return marks.dialect.comparison(field, operator, marks.next())
