"""Encodes rows and values as keys of IndexedDB's indexes: texts that sort as `query/semantics.py` defines.

A key is one text of all of the index's columns, the sequence last, so that it is unique. Plain values do not work: null
and booleans are not valid keys, numbers above 2**53 are rounded, and texts are compared by UTF-16 code units instead of
code points.
"""

import struct
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

from swarm_persistence.engines.rows.indexes import key_range, limited
from swarm_persistence.engines.rows.planner import AccessPath, IndexColumn, columns_of
from swarm_persistence.query.query import pair_of
from swarm_persistence.query.semantics import may_be_null
from swarm_persistence.schema.codec import Row
from swarm_persistence.schema.tables import SEQUENCE, Index, Kind, Table

HIGHEST = "\uffff"
"""Sorts after every continuation of a key: keys have no character above U+00FF."""

_SIGN = 1 << 63
_EVERY_BIT = (1 << 64) - 1
_Encoder = Callable[[Any], str]


class Span(NamedTuple):
    """The keys from `lower`, inclusive, to `upper`, exclusive; `None` is unbounded."""

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
        """Return the key of a row, or `None` if the index is partial and does not contain it."""

    def span(self, path: AccessPath) -> Span:
        """Return the range of the keys on an access path."""
        return Span(*key_range(path, self._encoders, self._directions, HIGHEST))


@cache
def text_keys_of(table: Table[Any], index: Index) -> TextKeys:
    """Return the keys of an index, which are cached."""
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
    # UTF-8 sorts by code point. Texts have no NUL, so it separates a text from its continuations.
    return (value if value.isascii() else value.encode().decode("latin-1")) + "\0"


def _whole(value: int) -> str:
    return f"{value + _SIGN:016x}"


def _descending_integer(value: int) -> str:
    return f"{_SIGN - 1 - value:016x}"


def _real(value: float) -> str:
    bits: int = struct.unpack(">Q", struct.pack(">d", value + 0.0))[0]  # + 0.0 turns -0.0 into 0.0
    return f"{_EVERY_BIT - bits if bits & _SIGN else bits | _SIGN:016x}"


_WHOLE_KINDS = (Kind.RANK, Kind.COUNT, Kind.VERSION, Kind.FLAG, Kind.TIME)
_ENCODERS: dict[tuple[Kind, bool], _Encoder] = {
    (Kind.TEXT, False): _text,
    (Kind.CHOICE, False): _text,
    (Kind.PATH, False): _text,
    (Kind.REAL, False): _real,
    **{(kind, False): _whole for kind in _WHOLE_KINDS},
    **{(kind, True): _descending_integer for kind in _WHOLE_KINDS},
}
