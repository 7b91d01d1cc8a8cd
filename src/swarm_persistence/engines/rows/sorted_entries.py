"""A sorted collection of tuples with fast insertion and removal anywhere: a list of short sorted lists."""

from bisect import bisect_left, insort
from collections.abc import Iterator
from typing import Any

Entry = tuple[Any, ...]

LARGEST_CHUNK = 1024
"""Entries per chunk: few enough that an insertion moves little memory, enough that there are few chunks."""


class Highest:
    """A value above every other; as the end of a bound, it places the bound after all entries with that prefix."""

    def __lt__(self, other: object) -> bool:
        return False

    def __gt__(self, other: object) -> bool:
        return True


HIGHEST = Highest()


class SortedEntries:
    """Distinct tuples in ascending order. Must not be changed while an iterator of it is in use.

    A bound is a tuple, often a shorter one: it sorts before all entries that begin with it.
    """

    def __init__(self, largest_chunk: int = LARGEST_CHUNK) -> None:
        self._largest = largest_chunk
        self._smallest = largest_chunk // 4
        self._chunks: list[list[Entry]] = []
        self._lasts: list[Entry] = []

    def __len__(self) -> int:
        return sum(map(len, self._chunks))

    def __iter__(self) -> Iterator[Entry]:
        return self.between(None, None)

    def copy(self) -> "SortedEntries":
        """Return an independent copy."""
        copied = SortedEntries(self._largest)
        copied._chunks = [chunk.copy() for chunk in self._chunks]
        copied._lasts = self._lasts.copy()
        return copied

    def add(self, entry: Entry) -> None:
        """Insert an entry, which must not be present."""
        if not self._lasts or entry > self._lasts[-1]:
            self._append(entry)
            return
        place = bisect_left(self._lasts, entry)
        chunk = self._chunks[place]
        insort(chunk, entry)
        if len(chunk) > self._largest:
            self._split(place)

    def remove(self, entry: Entry) -> None:
        """Remove an entry; `KeyError` if it is not present."""
        place, offset = self._find(entry)
        if place == len(self._chunks) or self._chunks[place][offset] != entry:
            raise KeyError(entry)
        chunk = self._chunks[place]
        del chunk[offset]
        if len(chunk) <= self._smallest:
            self._join(place)
        elif offset == len(chunk):
            self._lasts[place] = chunk[-1]

    def between(self, start: Entry | None, stop: Entry | None, is_backward: bool = False) -> Iterator[Entry]:
        """Yield the entries from `start`, inclusive, to `stop`, exclusive; `None` is unbounded."""
        (first, first_offset), (last, last_offset) = self._find(start), self._find(stop, is_stop=True)
        if (first, first_offset) >= (last, last_offset):
            return
        places = range(first, min(last + 1, len(self._chunks)))
        for place in reversed(places) if is_backward else places:
            chunk = self._chunks[place]
            offsets = range(first_offset if place == first else 0, last_offset if place == last else len(chunk))
            # Not by slice: most callers stop after a few entries.
            for offset in reversed(offsets) if is_backward else offsets:
                yield chunk[offset]

    def count(self, start: Entry | None, stop: Entry | None) -> int:
        """Count the entries from `start`, inclusive, to `stop`, exclusive, without visiting each."""
        (first, first_offset), (last, last_offset) = self._find(start), self._find(stop, is_stop=True)
        if (first, first_offset) >= (last, last_offset):
            return 0
        return sum(map(len, self._chunks[first:last])) + last_offset - first_offset

    def _find(self, bound: Entry | None, is_stop: bool = False) -> tuple[int, int]:
        """Return the chunk and the offset of the first entry at or above the bound."""
        if bound is None:
            return (len(self._chunks) if is_stop else 0), 0
        place = bisect_left(self._lasts, bound)
        if place == len(self._lasts):
            return place, 0
        return place, bisect_left(self._chunks[place], bound)

    def _append(self, entry: Entry) -> None:
        # Entries in ascending order fill their chunks; splitting would leave each half full.
        if self._chunks and len(self._chunks[-1]) < self._largest:
            self._chunks[-1].append(entry)
            self._lasts[-1] = entry
        else:
            self._chunks.append([entry])
            self._lasts.append(entry)

    def _split(self, place: int) -> None:
        chunk = self._chunks[place]
        half = len(chunk) // 2
        self._chunks.insert(place + 1, chunk[half:])
        del chunk[half:]
        self._lasts.insert(place, chunk[-1])

    def _join(self, place: int) -> None:
        """Join a short chunk with a neighbour, so that removals do not leave many short chunks."""
        if len(self._chunks) > 1:
            place = max(place - 1, 0)
            self._chunks[place] += self._chunks.pop(place + 1)
            del self._lasts[place]
        chunk = self._chunks[place]
        if not chunk:
            del self._chunks[place], self._lasts[place]
            return
        self._lasts[place] = chunk[-1]
        if len(chunk) > self._largest:
            self._split(place)
