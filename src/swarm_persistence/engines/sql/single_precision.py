"""Bounds of what functions of vectors compute in single precision.

Each score is known up to a bound, so the rows that may be among the nearest are a few more than these: what the caller
computes of them in double precision is the same as of all rows.
"""

import math

from swarm_persistence.engines.reads import NearestCandidates
from swarm_persistence.schema.values import numbers_of

SHORTEST, LONGEST = 1e-12, 1e15
"""Lengths whose squares single precision holds, with room for the squares of their smaller numbers."""

_ROUNDING = 2.0**-24


def relative_error(dimensions: int) -> float:
    """Return the bound of a sum of as many products, and some more, relative to the lengths of both vectors."""
    return (2 * dimensions + 16) * _ROUNDING


def bounded_length(read: NearestCandidates) -> float | None:
    """Return the length of the query vector; `None` if it is too long or too short for the metric."""
    length = math.hypot(*numbers_of(read.vector))
    return length if read.metric == "euclidean" or SHORTEST < length < LONGEST else None
