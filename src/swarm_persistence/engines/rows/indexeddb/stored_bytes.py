"""Bytes that are too long for one go of the event loop: IndexedDB holds them in pieces, beside their row."""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

PIECE_BYTES = 1 << 19
"""Bytes of a piece: the browser copies what is stored or read in one go, which takes some milliseconds for this much.

Fewer would take more turns of the event loop, and where other tasks keep it busy, each turn comes late.
"""

LONGEST_IN_ROW = 1 << 18
"""The most bytes that a row itself holds in one column: a list reads all of its rows in one go."""

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
