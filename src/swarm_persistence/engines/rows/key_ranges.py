"""Computes the range of an index's keys on an access path, for keys that are tuples and for keys that are texts."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from swarm_persistence.engines.rows.planner import AccessPath, Bound

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
