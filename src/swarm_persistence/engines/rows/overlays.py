"""The tables as a transaction sees them: its own writes over the committed rows, unchanged until it commits."""

import heapq
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from swarm_persistence.engines.rows.planner import AccessPath
from swarm_persistence.engines.rows.row_source import RowSource
from swarm_persistence.engines.rows.sorted_entries import Entry
from swarm_persistence.engines.rows.tables import RowTable
from swarm_persistence.schema.codec import Row
from swarm_persistence.schema.tables import Table


class CommittedRows(RowSource, Protocol):
    """The committed rows under an overlay."""

    rows: dict[int, Row]
    """The rows that were returned, by sequence."""

    def entries(self, path: AccessPath) -> Iterator[Entry]:
        """Yield the index entries on the path, each of which ends with its row's sequence."""
        ...


class Difference(NamedTuple):
    """What a transaction changes in one table."""

    table: Table[Any]
    removed: list[Row]
    """The committed rows that it deletes."""
    replaced: list[Row]
    """The committed rows that it updates, as they were."""
    put: list[Row]
    """The rows that it adds or updates."""


class OverlayTable:
    """A `RowSource` of committed rows, some of them hidden, merged with rows of its own."""

    def __init__(self, base: CommittedRows) -> None:
        self.table = base.table
        self.last_sequence = base.last_sequence
        self.last_change = base.last_change
        self._base = base
        self._own = RowTable(base.table, indexes_late=True)
        self._hidden: set[int] = set()
        """The sequences of the committed rows that the transaction has updated or deleted."""

    def get(self, id: str) -> Row | None:
        row = self._own.get(id)
        if row is None:
            row = self._base.get(id)
            if row is not None and row[-1] in self._hidden:
                return None
        return row

    def scan(self, path: AccessPath) -> Iterator[Row]:
        if path.ids is not None:
            return (row for row in map(self.get, path.ids) if row is not None)
        hidden, own, base = self._hidden, self._own.rows, self._base.rows
        committed = self._base.entries(path)
        if hidden:
            committed = (entry for entry in committed if entry[-1] not in hidden)
        if not own:
            return (base[entry[-1]] for entry in committed)
        merged = heapq.merge(committed, self._own.entries(path), reverse=path.is_backward)
        return (own.get(entry[-1]) or base[entry[-1]] for entry in merged)

    def count(self, path: AccessPath) -> int:
        if path.ids is not None or self._hidden:
            return sum(1 for _ in self.scan(path))
        return self._base.count(path) + self._own.count(path)

    def completed(self, rows: list[Row], places: Sequence[int]) -> list[Row]:
        return self._base.completed(rows, places)

    def add(self, row: Row) -> None:
        self._own.add(row)

    def change(self, before: Row, after: Row) -> None:
        if before[-1] in self._own.rows:
            self._own.change(before, after)
        else:
            self._hide(before)
            self._own.add(after)

    def remove(self, row: Row) -> None:
        if row[-1] in self._own.rows:
            self._own.remove(row)
        else:
            self._hide(row)

    def commit(self) -> None:
        """Apply the transaction's writes to the committed rows."""
        own, base = self._own.rows, self._base
        # Hidden rows first: a new row may have the id of a deleted one.
        for sequence in self._hidden:
            row = own.pop(sequence, None)
            if row is None:
                base.remove(base.rows[sequence])
            else:
                base.change(base.rows[sequence], row)
        for row in own.values():
            base.add(row)
        base.last_sequence = self.last_sequence
        base.last_change = self.last_change

    @property
    def has_changes(self) -> bool:
        """Tell whether the transaction has written here."""
        return bool(self._own.rows or self._hidden)

    def difference(self) -> "Difference":
        """Return what the transaction has written here."""
        own, base = self._own.rows, self._base.rows
        removed = [base[sequence] for sequence in self._hidden if sequence not in own]
        replaced = [base[sequence] for sequence in self._hidden if sequence in own]
        return Difference(self.table, removed, replaced, list(own.values()))

    def _hide(self, row: Row) -> None:
        sequence: Any = row[-1]
        self._hidden.add(sequence)


class Overlays:
    """A transaction's writes to all tables."""

    def __init__(self, base_of: Callable[[Table[Any]], CommittedRows]) -> None:
        self._base_of = base_of
        self._tables: dict[str, OverlayTable] = {}

    def table(self, table: Table[Any]) -> OverlayTable:
        """Return the rows of a table as the transaction sees them."""
        overlay = self._tables.get(table.name)
        if overlay is None:
            overlay = self._tables[table.name] = OverlayTable(self._base_of(table))
        return overlay

    def commit(self) -> list[str]:
        """Apply the writes to the committed rows, and return the names of the changed tables."""
        changed = [name for name, overlay in self._tables.items() if overlay.has_changes]
        for overlay in self._tables.values():
            overlay.commit()
        return changed

    def differences(self) -> list[Difference]:
        """Return what the transaction changes, table by table."""
        return [overlay.difference() for overlay in self._tables.values() if overlay.has_changes]

    def counters(self) -> dict[str, list[int]]:
        """Return the last sequence and the last change number of each table in use."""
        return {name: [overlay.last_sequence, overlay.last_change] for name, overlay in self._tables.items()}

    def clear(self) -> None:
        """Drop the writes."""
        self._tables.clear()
