"""Compiles steps and queries into SQL text and parameters; knows dialects, and no database.

The text of a shape (which fields, which operators, which order) is written once and kept; after that, compiling is
collecting the values.
"""

from collections.abc import Mapping
from typing import Any

from swarm_persistence.engines.interface import Aggregate, Change, Increment
from swarm_persistence.query.query import Order, Query
from swarm_persistence.query.text import Dialect, Marks, where_text
from swarm_persistence.schema.tables import SEQUENCE, Table
from swarm_persistence.schema.values import ColumnValue

Compiled = tuple[str, list[ColumnValue]]


class Compiler:
    """Writes the statements of one dialect."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self._texts: dict[object, str] = {}

    def insert(self, table: Table[Any], rows: int = 1) -> str:
        """Return the text that adds so many rows."""
        marks = Marks(self.dialect)
        lines = ",\n  ".join(f"({', '.join(marks.next() for _ in table.names)})" for _ in range(rows))
        return f"INSERT INTO {table.name} ({', '.join(table.names)})\nVALUES\n  {lines}"

    def save(self, table: Table[Any]) -> str:
        """Return the text that adds a row, or replaces the one of its id and version."""
        changes = ",\n  ".join(f"{name} = excluded.{name}" for name in table.names if name != "id")
        text = f"{self.insert(table)}\nON CONFLICT (id) DO UPDATE SET\n  {changes}"
        return f"{text}\nWHERE {table.name}.version = excluded.version - 1" if table.is_versioned else text

    def replace(self, table: Table[Any], is_forced: bool) -> str:
        """Return the text that replaces a row; it marks `replace_values`."""
        marks = Marks(self.dialect)
        written = [
            "version = version + 1" if is_forced and name == "version" else f"{name} = {marks.next()}"
            for name in table.names
            if name != "id"
        ]
        text = f"{_set(table, written)}\nWHERE id = {marks.next()}"
        if not table.is_versioned:
            return f"{text}\nRETURNING 0"
        return f"{text}\nRETURNING version" if is_forced else f"{text} AND version = {marks.next()}\nRETURNING version"

    def replace_values(self, table: Table[Any], values: tuple[ColumnValue, ...], is_forced: bool) -> list[ColumnValue]:
        """Return what `replace` marks: the columns, the id, and the version that the row must have."""
        identity, *others = values
        if not table.is_versioned:
            return [*others, identity]
        place = table.positions["version"] - 1
        if is_forced:
            return [*others[:place], *others[place + 1 :], identity]
        version: Any = others[place]
        return [*others, identity, version - 1]

    def select(self, query: Query[Any]) -> Compiled:
        """Return the text that reads a query's rows, each with its sequence."""
        return self._text("select", query), self._values(query)

    def count(self, query: Query[Any]) -> Compiled:
        """Return the text that counts the rows that fulfil a query's conditions."""
        key = ("count", query.table.name, self._conditions_shape(query))
        text = self._texts.get(key)
        if text is None:
            text = self._texts[key] = "\n".join(["SELECT count(*)", *self._from(query, Marks(self.dialect))])
        return text, self.dialect.values(query.table, query.conditions)

    def update(self, query: Query[Any], changes: Mapping[str, Change]) -> Compiled:
        """Return the text that changes the rows that fulfil a query's conditions."""
        key = ("update", query.table.name, self._conditions_shape(query), _changes_shape(changes))
        text = self._texts.get(key)
        if text is None:
            marks = Marks(self.dialect)
            text = self._texts[key] = _set(query.table, _written(changes, marks)) + self._where(query, marks)
        return text, [*_change_values(changes), *self.dialect.values(query.table, query.conditions)]

    def claim(self, query: Query[Any], changes: Mapping[str, Change]) -> Compiled:
        """Return the text that changes the first of a query's rows and gives them, in any order."""
        key = ("claim", self._shape(query), _changes_shape(changes))
        text = self._texts.get(key)
        if text is None:
            marks = Marks(self.dialect)
            head = _set(query.table, _written(changes, marks))
            chosen = "\n  ".join(
                [f"SELECT {SEQUENCE}", *self._from(query, marks), *self._order_and_bounds(query, marks)]
            )
            returned = ", ".join((*query.table.names, SEQUENCE))
            text = self._texts[key] = f"{head}\nWHERE {SEQUENCE} IN (\n  {chosen}\n)\nRETURNING {returned}"
        return text, [*_change_values(changes), *self._values(query)]

    def delete(self, query: Query[Any]) -> Compiled:
        """Return the text that deletes the rows that fulfil a query's conditions."""
        key = ("delete", query.table.name, self._conditions_shape(query))
        text = self._texts.get(key)
        if text is None:
            text = self._texts[key] = f"DELETE FROM {query.table.name}{self._where(query, Marks(self.dialect))}"
        return text, self.dialect.values(query.table, query.conditions)

    def aggregate(self, aggregate: Aggregate) -> Compiled:
        """Return the text that computes an aggregate."""
        query = aggregate.query
        key = ("aggregate", query.table.name, self._conditions_shape(query), aggregate.group_by, aggregate.functions)
        text = self._texts.get(key)
        if text is None:
            functions = [f"{name}({field or '*'})" for name, field in aggregate.functions]
            chosen = ", ".join((*aggregate.group_by, *functions))
            clauses = [f"SELECT {chosen}", *self._from(query, Marks(self.dialect))]
            if aggregate.group_by:
                order = ", ".join(self.dialect.order(Order(field)) for field in aggregate.group_by)
                clauses += [f"GROUP BY {', '.join(aggregate.group_by)}", f"ORDER BY {order}"]
            text = self._texts[key] = "\n".join(clauses)
        return text, self.dialect.values(query.table, query.conditions)

    def _text(self, verb: str, query: Query[Any]) -> str:
        key = (verb, self._shape(query))
        text = self._texts.get(key)
        if text is None:
            marks = Marks(self.dialect)
            chosen = ", ".join((*query.table.names, SEQUENCE))
            clauses = [f"SELECT {chosen}", *self._from(query, marks), *self._order_and_bounds(query, marks)]
            text = self._texts[key] = "\n".join(clauses)
        return text

    def _from(self, query: Query[Any], marks: Marks) -> list[str]:
        clauses = [f"FROM {query.table.name}"]
        if query.conditions:
            clauses.append(f"WHERE {where_text(query, marks)}")
        return clauses

    def _where(self, query: Query[Any], marks: Marks) -> str:
        return f"\nWHERE {where_text(query, marks)}" if query.conditions else ""

    def _order_and_bounds(self, query: Query[Any], marks: Marks) -> list[str]:
        clauses = [f"ORDER BY {', '.join(self.dialect.order(term) for term in query.full_order)}"]
        if query.limit is not None:
            # A sum, not the mark alone: SQLite would plan a claim anew for every value, at four times its cost.
            clauses.append(f"LIMIT {marks.next()} + 0")
        elif query.offset:
            clauses.append(self.dialect.any_number_of_rows())
        if query.offset:
            clauses.append(f"OFFSET {marks.next()}")
        return clauses

    def _values(self, query: Query[Any]) -> list[ColumnValue]:
        values = self.dialect.values(query.table, query.conditions)
        if query.limit is not None:
            values.append(query.limit)
        if query.offset:
            values.append(query.offset)
        return values

    def _shape(self, query: Query[Any]) -> object:
        return (
            query.table.name,
            self._conditions_shape(query),
            query.order,
            query.limit is None,
            query.offset == 0,
        )

    def _conditions_shape(self, query: Query[Any]) -> object:
        table, dialect = query.table, self.dialect
        return tuple(
            (condition.field, condition.operator, condition.value if dialect.is_literal(table, condition) else None)
            if condition.operator != "IN"
            else (condition.field, "IN", len(dialect.candidates(condition.value)))  # type: ignore[arg-type]
            for condition in query.conditions
        )


def _set(table: Table[Any], written: list[str]) -> str:
    lines = ",\n  ".join(written)
    return f"UPDATE {table.name}\nSET\n  {lines}"


def _written(changes: Mapping[str, Change], marks: Marks) -> list[str]:
    return [
        f"{name} = {name} + {change.by}" if isinstance(change, Increment) else f"{name} = {marks.next()}"
        for name, change in changes.items()
    ]


def _changes_shape(changes: Mapping[str, Change]) -> object:
    return tuple((name, change.by if isinstance(change, Increment) else None) for name, change in changes.items())


def _change_values(changes: Mapping[str, Change]) -> list[ColumnValue]:
    return [change for change in changes.values() if not isinstance(change, Increment)]
