"""Bytes too long for one tick of the event loop: IndexedDB holds them in pieces, beside their row."""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

PIECE_BYTES = 1 << 19
"""Bytes per piece: the browser copies a piece in one go, which takes some milliseconds at this size.

Smaller pieces need more ticks of the event loop, and each tick comes late while other tasks keep the loop busy.
"""

LONGEST_IN_ROW = 1 << 18
"""The most bytes of one column that the row itself holds: a list reads all of its rows in one go."""

PIECES = "pieces"
"""The store of the pieces, whose keys are the id of the bytes and the number of the piece."""


class StoredBytes(msgspec.Struct, frozen=True):
    """Stands in a row for bytes that are stored in pieces."""

    id: str
    size: int

    def __len__(self) -> int:
        return self.size


def references(row: Any, places: Sequence[int]) -> Iterator[StoredBytes]:
    """Yield what stands in a row for bytes."""
    return (row[place] for place in places if type(row[place]) is StoredBytes)


def pieces_of(id: str, data: bytes) -> Iterator[tuple[tuple[str, int], memoryview]]:
    """Yield the key and the bytes of each piece."""
    whole = memoryview(data)
    for number, start in enumerate(range(0, len(data), PIECE_BYTES)):
        yield (id, number), whole[start : start + PIECE_BYTES]
