"""Writes a query as SQL text and collects its values; knows what dialects differ in, and no database.

Text and values are made apart, so that an engine can keep the text of a shape and collect values only.
"""

from collections.abc import Sequence
from itertools import count
from typing import Any

from swarm_persistence.query.query import Condition, FromNow, Order, Query, Subquery, pair_of
from swarm_persistence.schema.tables import SEQUENCE, Column, Table
from swarm_persistence.schema.values import ColumnValue


class Dialect:
    """How one database writes what the others write differently; this one is the seed's own, `?` for each value."""

    has_literals = False
    """Whether a value that limits a partial index stands in the text: only then a planner sees that the index holds the
    rows. They are few, and ours."""

    def placeholder(self, position: int) -> str:
        """Return the mark of the value at this position, counted from 1."""
        return "?"

    def pair(self, field: str) -> tuple[str, str]:
        """Return the expressions for the lower and the higher of two columns."""
        first, second = pair_of(field)
        return f"min({first}, {second})", f"max({first}, {second})"

    def higher(self, first: str, second: str) -> str:
        """Return the expression of the higher one of two values."""
        return f"max({first}, {second})"

    def contains(self, field: str, candidates: Sequence[ColumnValue], marks: "Marks") -> str:
        """Return the condition that a column holds one of the candidates."""
        return f"{field} IN ({', '.join(marks.next() for _ in candidates)})"

    def candidates(self, candidates: Sequence[ColumnValue]) -> Sequence[ColumnValue]:
        """Return the values that `contains` marks."""
        return candidates

    def unindexed(self, field: str) -> str:
        """Return a field in a form that no index serves."""
        return field

    def candidates_shape(self, candidates: Sequence[ColumnValue]) -> object:
        """Return what the text of `contains` depends on."""
        return len(candidates)

    def table(self, table: Table[Any]) -> str:
        """Return how statements name a table; its columns go by its plain name."""
        return table.name

    def floor(self, table: Table[Any]) -> str:
        """Return how statements name the table that holds the highest sequence of a table's deleted rows."""
        assert table.floor is not None
        return table.floor

    def comparison(self, field: str, operator: str, mark: str) -> str:
        """Return the condition that a column compares with a value."""
        return f"{field} {operator} {mark}"

    def literal(self, column: Column, value: object) -> str:
        """Return a value that stands in the text: an enum's text, or a small number."""
        return f"'{value}'" if isinstance(value, str) else str(value)

    def limit(self, mark: str) -> str:
        """Return the clause that bounds the rows."""
        return f"LIMIT {mark}"

    def function(self, table: Table[Any], name: str, field: str | None) -> str:
        """Return the call of an aggregate function."""
        return f"{name}({field or '*'})"

    def order(self, order: Order) -> str:
        """Return one term of ORDER BY."""
        return f"{order.field} DESC" if order.is_descending else order.field

    def any_number_of_rows(self) -> str:
        """Return the LIMIT that an OFFSET without one needs."""
        return "LIMIT -1"

    def is_literal(self, table: Table[Any], condition: Condition) -> bool:
        """Tell whether a condition's value stands in the text."""
        return self.has_literals and condition.operator == "=" and condition.field in table.limiting_fields

    def from_now(self, moment: FromNow, marks: "Marks") -> str:
        """Return the expression of a time; `moment_values` are what it marks."""
        return marks.next()

    def moment_values(self, moment: FromNow) -> Sequence[Any]:
        """Return the values that `from_now` marks."""
        return (moment.moment(),)

    def rounded_down(self, field: str, marks: "Marks") -> str:
        """Return the expression of a number or time, rounded down to a multiple that `width_values` are marked for."""
        return f"{field} - ({field} % {marks.next()} + {marks.next()}) % {marks.next()}"

    def width_values(self, width: int) -> Sequence[ColumnValue]:
        """Return the values that `rounded_down` marks."""
        return (width, width, width)

    def percentile(self, field: str, marks: "Marks") -> str:
        """Return the expression of a percentile; its one mark is for the fraction."""
        return f"percentile_cont({field}, {marks.next()})"

    def change_number(self, table: Table[Any]) -> str:
        """Return the expression of the mark that a write leaves in a row of a followed table."""
        raise NotImplementedError

    def values(self, table: Table[Any], conditions: Sequence[Condition]) -> list[ColumnValue]:
        """Return the values that the text of the conditions marks, in order."""
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
                case "IN SUBQUERY":
                    values.extend(self.values(value.query.table, value.query.conditions))
                case _ if isinstance(value, FromNow):
                    values.extend(self.moment_values(value))
                case _:
                    values.append(value)
        return values


class Marks:
    """Writes the marks of a text's values, one after the other."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self._positions = count(1)

    def next(self) -> str:
        """Return the mark of the next value."""
        return self.dialect.placeholder(next(self._positions))


def select_text(query: Query[Any], dialect: Dialect) -> tuple[str, list[ColumnValue]]:
    """Return the text of a SELECT as the seed writes it, and its values."""
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
    # Who reads along the arrivals wants no index on something else: it would find all rows, and sort them.
    is_walk = bool(query.order) and query.order[0].field == SEQUENCE
    return " AND ".join(_condition_text(query.table, condition, marks, is_walk) for condition in query.conditions)


def _condition_text(table: Table[Any], condition: Condition, marks: Marks, is_walk: bool = False) -> str:
    field, operator, value = condition
    match operator:
        case "PAIR":
            low, high = marks.dialect.pair(field)
            return f"{low} = {marks.next()} AND {high} = {marks.next()}"
        case "IS NULL" | "IS NOT NULL":
            return f"{field} {operator}"
        case "IN":
            return marks.dialect.contains(marks.dialect.unindexed(field) if is_walk else field, value, marks)  # type: ignore[arg-type]
        case "IN SUBQUERY":
            assert isinstance(value, Subquery)
            inner = value.query
            table_name = marks.dialect.table(inner.table)
            return f"{field} IN (SELECT {value.field} FROM {table_name} WHERE {where_text(inner, marks)})"
    if isinstance(value, FromNow):
        return f"{field} {operator} {marks.dialect.from_now(value, marks)}"
    if marks.dialect.is_literal(table, condition):
        return f"{field} = {marks.dialect.literal(table.column(field), value)}"
    return marks.dialect.comparison(field, operator, marks.next())
