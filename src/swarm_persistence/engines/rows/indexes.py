"""An index of rows: which entry a row has in it, and between which entries the rows of a plan lie."""

from collections.abc import Callable, Iterator
from typing import Any

from swarm_persistence.engines.rows.entries import HIGHEST, Entry, SortedEntries
from swarm_persistence.engines.rows.plans import Bound, IndexColumn, Plan, columns_of
from swarm_persistence.query.laws import compiled_key, key_text
from swarm_persistence.query.query import Order, pair_of
from swarm_persistence.schema.codec import Row
from swarm_persistence.schema.tables import Index, Table


class RowIndex:
    """The rows of one index, as entries that end with the row's sequence."""

    def __init__(self, table: Table[Any], index: Index) -> None:
        columns = columns_of(index)
        self._entries = SortedEntries()
        self._entry_of = compiled_key(_row_text(table, column) for column in columns)
        self._encoders = [_encoder(table, column) for column in columns]
        self._directions = [column.is_descending for column in columns]
        self._where = None if index.where is None else (table.positions[index.where[0]], index.where[1])

    def change(self, before: Row | None, after: Row | None) -> None:
        """Follow a change of a row."""
        old, new = self._entry(before), self._entry(after)
        if old == new:
            return
        if old is not None:
            self._entries.remove(old)
        if new is not None:
            self._entries.add(new)

    def entries(self, plan: Plan) -> Iterator[Entry]:
        """Yield the entries on a plan's way, in its direction."""
        return self._entries.between(*self._ends(plan), plan.is_backward)

    def count(self, plan: Plan) -> int:
        """Count the entries on a plan's way."""
        return self._entries.count(*self._ends(plan))

    def _entry(self, row: Row | None) -> Entry | None:
        if row is None or (self._where is not None and row[self._where[0]] != self._where[1]):
            return None
        return self._entry_of(row)

    def _ends(self, plan: Plan) -> tuple[Entry | None, Entry | None]:
        begin = tuple([encode(value) for encode, value in zip(self._encoders, plan.equal, strict=False)])
        place = len(begin)
        low, high = plan.lower, plan.upper
        if place < len(self._directions) and self._directions[place]:
            low, high = high, low
        start = begin or None if low is None else self._end(begin, low, stands_after=not low.is_inclusive)
        if high is not None:
            return start, self._end(begin, high, stands_after=high.is_inclusive)
        return start, (*begin, HIGHEST) if begin else None

    def _end(self, begin: Entry, bound: Bound, stands_after: bool) -> Entry:
        end = (*begin, self._encoders[len(begin)](bound.value))
        return (*end, HIGHEST) if stands_after else end


def _row_text(table: Table[Any], column: IndexColumn) -> str:
    if "|" not in column.field:
        return key_text(table, Order(*column), f"row[{table.positions[column.field]}]")
    first, second = (f"row[{table.positions[field]}]" for field in pair_of(column.field))
    return f"(({first}, {second}) if {first} <= {second} else ({second}, {first}))"


def _encoder(table: Table[Any], column: IndexColumn) -> Callable[[Any], Any]:
    if "|" in column.field:
        return lambda pair: tuple(sorted(pair))
    key = compiled_key([key_text(table, Order(*column), "row")])
    return lambda value: key(value)[0]
