"""Runs one conditional change for many sets of values in one statement, such as a worker's completions."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from itertools import chain
from typing import Any, ClassVar

import apsw
import msgspec

from swarm_persistence.engines.prepared import Parameter
from swarm_persistence.engines.sql.compiler import Compiler
from swarm_persistence.engines.sql.sqlite.execution import fetch
from swarm_persistence.engines.sql.sqlite.statements import CursorStatement
from swarm_persistence.engines.sql.statements import TextStatement
from swarm_persistence.engines.steps import Change, Claim, IfChanged, Step, Unlink
from swarm_persistence.query.query import Query, one_of
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


Values = Sequence[Any]

_MOST_AT_ONCE = 256
"""Sets of values in one statement, few enough that its text is short enough to stay prepared."""


class AlikeChange(msgspec.Struct, eq=False):
    """A change of one row by its id, after which the links to it are deleted; some of its values are parameters."""

    query: Query[Any]
    compiler: AlikeChangesCompiler
    id_position: int
    """Which of the parameters is the id."""
    unlink: Unlink

    def run(self, cursor: apsw.Cursor, rows: Sequence[Values]) -> list[list[Any]]:
        """Change a row for each set of values; return the fields of each: one tuple, or none if it was not changed."""
        ids = [row[self.id_position] for row in rows]
        # A row that is given twice is changed once, by its first set of values.
        largest = _MOST_AT_ONCE if len({*ids}) == len(ids) else 1
        results: list[list[Any]] = []
        for start in range(0, len(rows), largest):
            end = start + largest
            changed = self._change(cursor, rows[start:end], ids[start:end])
            results += [[changed[id]] if id in changed else [] for id in ids[start:end]]
        return results

    def _change(self, cursor: apsw.Cursor, rows: Sequence[Values], ids: Sequence[str]) -> dict[str, Any]:
        text, values = self.compiler.change_each(rows, ids)
        changed: dict[str, Any] = fetch(cursor, ChangedByIdStatement(text, values, self.query.table))
        if changed:
            links = self.unlink.links
            query = Query(links.table, (one_of(links.conditions[0].field, [*changed]),))
            cursor.execute(*self.compiler.delete(query))
        return changed

    @property
    def tables(self) -> set[str]:
        """Return the names of the tables that it may change."""
        return {self.query.table.name, self.unlink.links.table.name, self.unlink.table.name}


class ChangedByIdStatement(TextStatement, eq=False, gc=False):
    """Changes rows; gives some of their values, keyed by id."""

    def result(self, rows: list[Any]) -> Any:
        return {id: tuple(values) for id, *values in rows}


class AlikeChangesStatement(CursorStatement, eq=False, gc=False):
    """Changes a row for each set of values; gives the results of each, as if each were a separate write."""

    change: AlikeChange
    rows: Sequence[Values]

    is_single: ClassVar[bool] = False

    @property
    def values(self) -> Iterable[Any]:
        return chain.from_iterable(self.rows)

    def run_on(self, cursor: apsw.Cursor) -> list[list[list[Any]]]:
        return [[records] for records in self.change.run(cursor, self.rows)]

    def tables_changed(self) -> set[str]:
        return self.change.tables


def alike_change(dialect: Dialect, steps: Sequence[Step]) -> AlikeChange | None:
    """Return the change that the steps of a prepared write describe, with parameters for its values.

    `None` if they do anything but change one row by its id, return fields of it, and delete the links to it.
    """
    match steps:
        case [IfChanged(Claim(query, changes, (), fields), [Unlink() as unlink])] if fields:
            pass
        case _:
            return None
    id = next((each.value for each in query.conditions if each[:2] == ("id", "=")), None)
    links = unlink.links.conditions
    if not isinstance(id, Parameter) or len(links) != 1 or links[0] != (links[0].field, "=", id):
        return None
    return AlikeChange(query, AlikeChangesCompiler(dialect, query, changes, fields), id.position, unlink)
