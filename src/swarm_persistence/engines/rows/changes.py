"""Does the steps of a write on the rows of sources, and can undo them."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from swarm_persistence.engines.interface import Change, Increment
from swarm_persistence.engines.rows.evaluator import matching_rows, rows_of
from swarm_persistence.engines.rows.sources import Source
from swarm_persistence.errors import ConflictError
from swarm_persistence.query.query import Query
from swarm_persistence.schema.codec import Row, codec_of
from swarm_persistence.schema.tables import Table
from swarm_persistence.schema.values import ColumnValue

Values = tuple[ColumnValue, ...]
"""The columns of a table in order, without the sequence."""


class Changes:
    """Changes rows, and remembers how they were until it is told to forget."""

    def __init__(self, source_of: Callable[[Table[Any]], Source]) -> None:
        self._source_of = source_of
        self._undo: list[Callable[[], None]] = []

    def run(self, works: Sequence["Work"]) -> list[Any]:
        """Do all works or none of them, and return the result of each."""
        mark = self.mark()
        try:
            return [work(self) for work in works]
        except BaseException:
            self.undo(mark)
            raise

    def mark(self) -> int:
        """Return a mark to which `undo` can go back."""
        return len(self._undo)

    def undo(self, mark: int) -> None:
        """Undo what was done since the mark."""
        while len(self._undo) > mark:
            self._undo.pop()()

    def forget(self) -> None:
        """Keep what was done for good."""
        self._undo.clear()

    def insert(self, table: Table[Any], values: Values) -> int:
        source = self._source_of(table)
        id: Any = values[0]
        if source.get(id) is not None:
            remedy = f"update_{table.label} replaces it" if table.is_versioned else "the stored one is unchanged"
            raise ConflictError(f"{table.label} {id!r} exists already; {remedy}")
        return self._add(source, values)

    def save(self, table: Table[Any], values: Values) -> int:
        source = self._source_of(table)
        id: Any = values[0]
        stored = source.get(id)
        if stored is None:
            self._add(source, values)
        elif not _is_next_version(table, stored, values):
            return 0
        else:
            self._change(source, stored, (*values, stored[-1]))
        return 1

    def replace(self, table: Table[Any], values: Values, is_forced: bool) -> int | None:
        source = self._source_of(table)
        id: Any = values[0]
        stored = source.get(id)
        if stored is None or not (is_forced or _is_next_version(table, stored, values)):
            return None
        if not table.is_versioned:
            self._change(source, stored, (*values, stored[-1]))
            return 0
        place = table.positions["version"]
        version: Any = stored[place]
        row = [*values, stored[-1]]
        row[place] = version + 1
        self._change(source, stored, tuple(row))
        return int(version) + 1

    def update(self, query: Query[Any], changes: Mapping[str, Change]) -> int:
        source = self._source_of(query.table)
        rows = matching_rows(source, query)
        for row in rows:
            self._change(source, row, _changed(query.table, row, changes))
        return len(rows)

    def claim(self, query: Query[Any], changes: Mapping[str, Change]) -> list[Any]:
        source = self._source_of(query.table)
        decode = codec_of(query.table.model).decode
        records = []
        for row in rows_of(source, query):
            claimed = _changed(query.table, row, changes)
            self._change(source, row, claimed)
            records.append(decode(claimed))
        return records

    def delete(self, query: Query[Any]) -> int:
        source = self._source_of(query.table)
        rows = matching_rows(source, query)
        for row in rows:
            source.remove(row)
            self._undo.append(partial(source.add, row))
        return len(rows)

    def _add(self, source: Source, values: Values) -> int:
        sequence = source.last_sequence + 1
        row = (*values, sequence)
        source.add(row)
        source.last_sequence = sequence
        self._undo.append(partial(_take_back, source, row))
        return sequence

    def _change(self, source: Source, before: Row, after: Row) -> None:
        source.change(before, after)
        self._undo.append(partial(source.change, after, before))


Work = Callable[[Changes], Any]
"""A step whose values are checked and encoded already."""


def _take_back(source: Source, row: Row) -> None:
    source.remove(row)
    source.last_sequence -= 1


def _is_next_version(table: Table[Any], stored: Row, values: Values) -> bool:
    if not table.is_versioned:
        return True
    place = table.positions["version"]
    old: Any = stored[place]
    new: Any = values[place]
    return bool(old == new - 1)


def _changed(table: Table[Any], row: Row, changes: Mapping[str, Change]) -> Row:
    values: list[Any] = list(row)
    for field, change in changes.items():
        place = table.positions[field]
        if not isinstance(change, Increment):
            values[place] = change
        elif values[place] is not None:
            values[place] += change.by
    return tuple(values)
