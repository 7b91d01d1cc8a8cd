"""Limits the bytes that one statement sends: the driver encodes them in one go, which blocks the event loop."""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from operator import itemgetter
from typing import Any, TypeVar

T = TypeVar("T")

SizeOf = Callable[[T], int]

MOST_BYTES = 1 << 20
"""The limit per statement, unless a single row is larger."""


def sizes_at(places: Sequence[int]) -> SizeOf[Sequence[Any]]:
    """Return the function that sizes a row by its values at these places: in bytes, or in characters of a text."""
    if not places:
        return lambda row: 0
    if len(places) == 1:
        (place,) = places
        return lambda row: len(row[place] or "")
    values_at = itemgetter(*places)
    return lambda row: sum(map(len, filter(None, values_at(row))))


def first_part(items: Sequence[T], most: int, size_of: SizeOf[T]) -> int:
    """Return how many of the first items one statement sends: one at least, and up to this number."""
    if len(items) < 2:
        return len(items)
    sizes = [*accumulate(map(size_of, items[:most]))]
    return max(bisect_right(sizes, MOST_BYTES), 1)


def parts_of(items: Sequence[T], most: int, size_of: SizeOf[T]) -> Iterator[Sequence[T]]:
    """Yield the items of each statement."""
    start = 0
    while start < len(items):
        end = start + first_part(items[start : start + most], most, size_of)
        yield items[start:end]
        start = end
