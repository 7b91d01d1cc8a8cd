"""Compiles the change of a row by its id into statements that change many such rows, each with its own values."""

from collections.abc import Mapping, Sequence
from functools import cache
from itertools import chain
from typing import Any

from swarm_persistence.engines.prepared import Parameter
from swarm_persistence.engines.sql.compiler import Compiler
from swarm_persistence.engines.steps import Change
from swarm_persistence.query.query import Query
from swarm_persistence.query.text import Dialect, Marks, listed, where_text
from swarm_persistence.schema.values import ColumnValue

_ROWS_OF_A_TEXT = 16
"""The number of rows in a text is a multiple of this, so that few texts are compiled and prepared."""


class AlikeChangesCompiler(Compiler):
    """Writes one such change: its conditions name the id, and a `Parameter` stands for each row's own value."""

    def __init__(
        self, dialect: Dialect, query: Query[Any], changes: Mapping[str, Change], fields: Sequence[str]
    ) -> None:
        """Take the change, and the columns to return of each row after its id."""
        super().__init__(dialect)
        self.table = query.table
        self._returned = ("id", *fields)
        self._query = query
        self._changes = changes
        set_values = self._change_values(changes)
        compared = self.dialect.values(query.table, query.conditions)
        self._marked_values = [*set_values, *compared]
        self._set_values = _fixed(set_values)
        self._compared = _fixed(compared)
        self._text_of = cache(self._text)

    def change_each(self, rows: Sequence[Sequence[ColumnValue]], ids: Sequence[ColumnValue]) -> tuple[str, list[Any]]:
        """Return the text that changes the rows of these ids by these values, and returns the changed ones."""
        width, missing = len(rows[0]), -len(rows) % _ROWS_OF_A_TEXT
        text = self._text_of(len(rows) + missing, width)
        nothing = [None] * (width * missing)  # nulls match no id
        given = chain.from_iterable(rows)
        return text, [*self._set_values, *given, *nothing, *self.dialect.candidates(ids), *self._compared]

    def _text(self, rows: int, width: int) -> str:
        table = self.table
        # With the statistics of a table that was almost empty, SQLite would otherwise read all of it, and look for each
        # of its rows among the values.
        index = f"INDEXED BY sqlite_autoindex_{table.name}_1"
        marks = _ValueMarks(self.dialect, self._marked_values)
        update, _, changes = self._change(table, self._changes, marks).partition("\n")
        plain = Marks(self.dialect)
        # Placeholders have no numbers, so that all rows share a text: formatting each takes as long as running it.
        values = ",".join([f"({','.join(plain.next() for _ in range(width))})"] * rows)
        named = self.dialect.contains("id", (), plain)
        where = where_text(self._query, marks)
        return (
            f"{update} {index}\n{changes}\nFROM (VALUES {values}) AS given\n"
            f"WHERE {named} AND {where}\nRETURNING {listed(self._returned)}"
        )


class _ValueMarks(Marks):
    """Names the column of `given` where a value differs from row to row."""

    def __init__(self, dialect: Dialect, values: Sequence[Any]) -> None:
        super().__init__(dialect)
        self._values = iter(values)

    def next(self) -> str:
        value = next(self._values)
        return f"given.column{value.position + 1}" if type(value) is Parameter else super().next()


def _fixed(values: Sequence[Any]) -> list[Any]:
    return [value for value in values if type(value) is not Parameter]
