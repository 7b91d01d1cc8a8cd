"""The rows of one table in memory, with its indexes."""

from collections.abc import Iterator, Sequence
from typing import Any

from swarm_persistence.engines.rows.indexes import RowIndex, keys_of
from swarm_persistence.engines.rows.planner import AccessPath, indexes_of
from swarm_persistence.engines.rows.sorted_entries import Entry
from swarm_persistence.schema.codec import Row
from swarm_persistence.schema.tables import Index, Table


class _Rows(dict[int, Row]):
    """A dictionary that the garbage collector always tracks.

    The collector untracks a plain dictionary whose values are untracked, and tracks it again at the next insertion, as
    a young object: then each young collection traverses all rows, which takes 35 ms for a million of them.
    """


class RowTable:
    """A `RowSource` that stores its rows in dictionaries and sorted indexes.

    With `indexes_late`, an index is built when it is first read: a transaction writes few rows, and reads fewer.
    """

    def __init__(self, table: Table[Any], *, indexes_late: bool = False) -> None:
        self.table = table
        self.last_sequence = 0
        self.last_change = 0
        self.rows: dict[int, Row] = _Rows()
        """All rows by sequence, with which each index entry ends."""
        self._sequences: dict[str, int] = {}
        self._id_position = table.positions["id"]
        self._indexes: dict[str, RowIndex] = {}
        self._every_index: tuple[RowIndex, ...] = ()
        if not indexes_late:
            for index in indexes_of(table):
                self._index(index)

    def copy(self) -> "RowTable":
        """Return an independent copy."""
        copied = RowTable.__new__(RowTable)
        copied.__dict__.update(self.__dict__)
        copied.rows = _Rows(self.rows)
        copied._sequences = dict(self._sequences)
        copied._indexes = {name: index.copy() for name, index in self._indexes.items()}
        copied._every_index = tuple(copied._indexes.values())
        return copied

    def get(self, id: str) -> Row | None:
        sequence = self._sequences.get(id)
        return None if sequence is None else self.rows[sequence]

    def scan(self, path: AccessPath) -> Iterator[Row]:
        if path.ids is not None:
            return (row for row in map(self.get, path.ids) if row is not None)
        rows = self.rows
        return (rows[entry[-1]] for entry in self.entries(path))

    def entries(self, path: AccessPath) -> Iterator[Entry]:
        """Yield the index entries on the path, each of which ends with its row's sequence."""
        return self._index(path.index).entries(path)

    def count(self, path: AccessPath) -> int:
        return sum(1 for _ in self.scan(path)) if path.ids is not None else self._index(path.index).count(path)

    def completed(self, rows: list[Row], places: Sequence[int]) -> list[Row]:
        return rows

    def add(self, row: Row) -> None:
        sequence: Any = row[-1]
        id: Any = row[self._id_position]
        self.rows[sequence] = row
        self._sequences[id] = sequence
        for index in self._every_index:
            index.add(row)

    def change(self, before: Row, after: Row) -> None:
        sequence: Any = after[-1]
        self.rows[sequence] = after
        for index in self._every_index:
            index.change(before, after)

    def remove(self, row: Row) -> None:
        sequence: Any = row[-1]
        id: Any = row[self._id_position]
        del self.rows[sequence], self._sequences[id]
        for index in self._every_index:
            index.remove(row)

    def _index(self, index: Index) -> RowIndex:
        built = self._indexes.get(index.name)
        if built is None:
            built = self._indexes[index.name] = RowIndex(keys_of(self.table, index))
            for row in self.rows.values():
                built.add(row)
            self._every_index = (*self._every_index, built)
        return built
