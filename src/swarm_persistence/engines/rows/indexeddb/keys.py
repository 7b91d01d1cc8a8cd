"""Writes rows and values as keys of IndexedDB's indexes: texts that sort as the laws say.

A key is one text of all the index's columns, arrival last, so that no two rows share it. Plain values would not do:
null and booleans are no keys, numbers above 2**53 are rounded, and texts are compared by UTF-16 units instead of code
points.
"""

import struct
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

from swarm_persistence.engines.rows.indexes import limited
from swarm_persistence.engines.rows.planner import ARRIVALS, AccessPath, Bound, IndexColumn, columns_of
from swarm_persistence.query.query import pair_of
from swarm_persistence.query.semantics import may_be_null
from swarm_persistence.schema.codec import Row
from swarm_persistence.schema.tables import SEQUENCE, Index, Kind, Table

HIGHEST = "\uffff"
"""Stands after everything that a key can go on with: keys hold no character above U+00FF."""

_SIGN = 1 << 63
_EVERY_BIT = (1 << 64) - 1
_Encoder = Callable[[Any], str]


class Span(NamedTuple):
    """The keys from `lower` up to, and without, `upper`; `None` is no bound."""

    lower: str | None
    upper: str | None


class TextKeys:
    """The keys of one index."""

    def __init__(self, table: Table[Any], index: Index) -> None:
        columns = columns_of(index)
        self._encoders = [_encoder(table, column) for column in columns]
        self._directions = [column.is_descending for column in columns]
        readers = [_reader(table, column) for column in columns]
        parts = list(zip(readers, self._encoders, strict=True))
        self.key_of = limited(table, index, lambda row: "".join([encode(read(row)) for read, encode in parts]))
        """Return the key of a row, or `None` if the index is partial and lacks it."""

    def span(self, path: AccessPath) -> Span:
        """Return the keys between which the rows of a plan lie."""
        begin = "".join([encode(value) for encode, value in zip(self._encoders, path.equal, strict=False)])
        place = len(path.equal)
        low, high = path.lower, path.upper
        if place < len(self._directions) and self._directions[place]:
            low, high = high, low
        lower = (begin or None) if low is None else self._end(begin, place, low, stands_after=not low.is_inclusive)
        if high is not None:
            return Span(lower, self._end(begin, place, high, stands_after=high.is_inclusive))
        return Span(lower, begin + HIGHEST if begin else None)

    def _end(self, begin: str, place: int, bound: Bound, stands_after: bool) -> str:
        end = begin + self._encoders[place](bound.value)
        return end + HIGHEST if stands_after else end


def every_index(table: Table[Any]) -> tuple[Index, ...]:
    """Return the indexes of a table, its arrivals first."""
    return (ARRIVALS, *table.indexes)


@cache
def text_keys_of(table: Table[Any], index: Index) -> TextKeys:
    """Return the keys of an index, which are made once."""
    return TextKeys(table, index)


def _reader(table: Table[Any], column: IndexColumn) -> Callable[[Row], Any]:
    if "|" not in column.field:
        position = table.positions[column.field]
        return lambda row: row[position]
    first, second = (table.positions[field] for field in pair_of(column.field))
    return lambda row: (row[first], row[second])


def _encoder(table: Table[Any], column: IndexColumn) -> _Encoder:
    if "|" in column.field:
        return _pair
    kind = Kind.VERSION if column.field == SEQUENCE else table.column(column.field).kind
    encode = _ENCODERS[kind, column.is_descending]
    if not may_be_null(table, column.field):
        return encode
    null, present = ("1", "0") if column.is_descending else ("0", "1")
    return lambda value: null if value is None else present + encode(value)


def _pair(values: tuple[str, str]) -> str:
    first, second = sorted(values)
    return _text(first) + _text(second)


def _text(value: str) -> str:
    # The bytes of UTF-8 sort as code points do. No text holds a NUL, so none goes on where another one ends.
    return (value if value.isascii() else value.encode().decode("latin-1")) + "\0"


def _whole(value: int) -> str:
    return f"{value + _SIGN:016x}"


def _turned_whole(value: int) -> str:
    return f"{_SIGN - 1 - value:016x}"


def _real(value: float) -> str:
    bits: int = struct.unpack(">Q", struct.pack(">d", value + 0.0))[0]  # + 0.0 makes one of the two zeros
    return f"{_EVERY_BIT - bits if bits & _SIGN else bits | _SIGN:016x}"


_WHOLE_KINDS = (Kind.RANK, Kind.COUNT, Kind.VERSION, Kind.FLAG, Kind.TIME)
_ENCODERS: dict[tuple[Kind, bool], _Encoder] = {
    (Kind.TEXT, False): _text,
    (Kind.CHOICE, False): _text,
    (Kind.REAL, False): _real,
    **{(kind, False): _whole for kind in _WHOLE_KINDS},
    **{(kind, True): _turned_whole for kind in _WHOLE_KINDS},
}
