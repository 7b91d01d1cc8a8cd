"""Error bounds of vector functions that compute in single precision.

Each score is known up to a bound, so there are a few more candidates than nearest rows. From the candidates, the caller
computes in double precision the same result as from all rows.
"""

import math

from swarm_persistence.engines.reads import NearestCandidates
from swarm_persistence.schema.values import numbers_of

SHORTEST, LONGEST = 1e-12, 1e15
"""Lengths whose squares fit into single precision, with room for the squares of their smaller components."""

_ROUNDING = 2.0**-24


def relative_error(dimensions: int) -> float:
    """Return the error bound of a sum of so many products, relative to the lengths of both vectors."""
    return (2 * dimensions + 16) * _ROUNDING


def bounded_length(read: NearestCandidates) -> float | None:
    """Return the length of the query vector; `None` if it is too long or too short for the metric."""
    length = math.hypot(*numbers_of(read.vector))
    return length if read.metric == "euclidean" or SHORTEST < length < LONGEST else None
