"""Runs one conditional change for many sets of values in one statement, such as a worker's completions."""

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any, ClassVar

import apsw
import msgspec

from swarm_persistence.engines.prepared import Parameter
from swarm_persistence.engines.sql.sqlite.alike_changes_compiler import AlikeChangesCompiler
from swarm_persistence.engines.sql.sqlite.execution import fetch
from swarm_persistence.engines.sql.sqlite.statements import CursorStatement
from swarm_persistence.engines.sql.statements import TextStatement
from swarm_persistence.engines.steps import Claim, IfChanged, Step, Unlink
from swarm_persistence.query.query import Query, one_of
from swarm_persistence.query.text import Dialect

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
