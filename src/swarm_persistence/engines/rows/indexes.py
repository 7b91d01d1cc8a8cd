"""An index of rows: the entry of a row, and the range of entries on an access path."""

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from operator import itemgetter
from typing import Any, TypeVar

from swarm_persistence.engines.rows.planner import AccessPath, Bound, IndexColumn, columns_of
from swarm_persistence.engines.rows.sorted_entries import HIGHEST, Entry, SortedEntries
from swarm_persistence.query.query import Order, pair_of
from swarm_persistence.query.semantics import compiled_key, key_text
from swarm_persistence.schema.codec import Row
from swarm_persistence.schema.tables import Index, Table

T = TypeVar("T")

_HIGHEST: Entry = (HIGHEST,)


class IndexKeys:
    """Encodes rows and values as entries of an index, which sort ascending and end with the row's sequence."""

    def __init__(self, table: Table[Any], index: Index) -> None:
        columns = columns_of(index)
        self._encoders = [_encoder(table, column) for column in columns]
        self._directions = [column.is_descending for column in columns]
        self.entry_of = limited(table, index, compiled_key(_row_text(table, column) for column in columns))
        """Return the entry of a row, or `None` if the index is partial and does not contain it."""
        fields = (*(field for column in columns for field in column.field.split("|")), *_limiting_fields(index))
        self.read = itemgetter(*(table.positions[field] for field in fields))
        """Return the columns that a row's entry depends on."""

    def ends(self, path: AccessPath) -> tuple[Entry | None, Entry | None]:
        """Return the bounds of the entries on an access path."""
        return key_range(path, self._encoders, self._directions, _HIGHEST)


@cache
def keys_of(table: Table[Any], index: Index) -> IndexKeys:
    """Return the keys of an index, which are cached: each transaction makes tables of its own."""
    return IndexKeys(table, index)


class RowIndex:
    """The entries of one index."""

    def __init__(self, keys: IndexKeys) -> None:
        self._entries = SortedEntries()
        self._keys = keys
        self._entry_of = keys.entry_of
        self._read = keys.read

    def copy(self) -> "RowIndex":
        """Return an independent copy."""
        copied = RowIndex(self._keys)
        copied._entries = self._entries.copy()
        return copied

    def add(self, row: Row) -> None:
        """Add the entry of a new row."""
        entry = self._entry_of(row)
        if entry is not None:
            self._entries.add(entry)

    def remove(self, row: Row) -> None:
        """Remove the entry of a row."""
        entry = self._entry_of(row)
        if entry is not None:
            self._entries.remove(entry)

    def change(self, before: Row, after: Row) -> None:
        """Replace the entry of an updated row."""
        if self._read(before) == self._read(after):
            return
        old, new = self._entry_of(before), self._entry_of(after)
        if old is not None:
            self._entries.remove(old)
        if new is not None:
            self._entries.add(new)

    def entries(self, path: AccessPath) -> Iterator[Entry]:
        """Yield the entries on an access path, in its direction."""
        return self._entries.between(*self._keys.ends(path), path.is_backward)

    def count(self, path: AccessPath) -> int:
        """Count the entries on an access path."""
        return self._entries.count(*self._keys.ends(path))


def limited(table: Table[Any], index: Index, entry_of: Callable[[Row], T]) -> Callable[[Row], T | None]:
    """Return the function that computes a row's entry, or `None` if the index is partial and does not contain it."""
    held = entry_of if index.present is None else _if_present(table.positions[index.present], entry_of)
    match [(table.positions[field], value) for field, value in index.where]:
        case []:
            return held
        case [(position, value)]:
            return lambda row: held(row) if row[position] == value else None
        case conditions:
            positions, wanted = zip(*conditions, strict=True)
            found = itemgetter(*positions)
            return lambda row: held(row) if found(row) == wanted else None


def _if_present(place: int, entry_of: Callable[[Row], T]) -> Callable[[Row], T | None]:
    return lambda row: entry_of(row) if row[place] is not None else None


def _limiting_fields(index: Index) -> Iterator[str]:
    yield from (field for field, _ in index.where)
    if index.present is not None:
        yield index.present


def _row_text(table: Table[Any], column: IndexColumn) -> str:
    if "|" not in column.field:
        return key_text(table, Order(*column), f"row[{table.positions[column.field]}]")
    first, second = (f"row[{table.positions[field]}]" for field in pair_of(column.field))
    return f"(({first}, {second}) if {first} <= {second} else ({second}, {first}))"


def _encoder(table: Table[Any], column: IndexColumn) -> Callable[[Any], Entry]:
    if "|" in column.field:
        return lambda pair: (tuple(sorted(pair)),)
    return compiled_key([key_text(table, Order(*column), "row")])


K = TypeVar("K", tuple[Any, ...], str)


def key_range(
    path: AccessPath, encoders: Sequence[Callable[[Any], K]], directions: Sequence[bool], highest: K
) -> tuple[K | None, K | None]:
    """Return the first key on the path, and the first one after it; `None` is unbounded.

    There is an encoder and a direction for each column of the index. `highest` sorts after every continuation of a key.
    """
    prefix = highest[:0]
    for encode, value in zip(encoders, path.equal, strict=False):
        prefix += encode(value)
    place = len(path.equal)

    def end(bound: Bound, *, is_after: bool) -> K:
        key = prefix + encoders[place](bound.value)
        return key + highest if is_after else key

    low, high = path.lower, path.upper
    if place < len(directions) and directions[place]:
        low, high = high, low
    start = (prefix or None) if low is None else end(low, is_after=not low.is_inclusive)
    if high is not None:
        return start, end(high, is_after=high.is_inclusive)
    return start, prefix + highest if prefix else None
