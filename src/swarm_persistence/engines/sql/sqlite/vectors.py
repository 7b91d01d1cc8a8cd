"""Finds candidates for the nearest vectors by sqlite-vec's functions, so that no vector leaves SQLite."""

import heapq
import math
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import apsw
import msgspec

from swarm_persistence.engines.reads import Metric, NearestCandidates
from swarm_persistence.engines.sql.single_precision import LONGEST, SHORTEST, bounded_length, relative_error
from swarm_persistence.engines.sql.statements import TextStatement

_SPEC = find_spec("sqlite_vec")

IS_INSTALLED = _SPEC is not None and _SPEC.origin is not None and hasattr(apsw.Connection, "enable_load_extension")
"""Whether the extra `vectors` is installed; without it, callers compute the scores of all rows."""


def add_functions(connection: apsw.Connection) -> None:
    """Register sqlite-vec's functions on a connection. Its package is not imported: it would load a second SQLite."""
    assert _SPEC is not None
    assert _SPEC.origin is not None
    connection.enable_load_extension(True)
    try:
        connection.load_extension(str(Path(_SPEC.origin).with_name("vec0")))
    finally:
        connection.enable_load_extension(False)


class Candidates(msgspec.Struct, frozen=True):
    """Chooses the rows that may be among the nearest to one vector."""

    vector: bytes
    length: float
    metric: Metric
    most: int

    def columns(self, field: str) -> tuple[str, tuple[Any, ...]]:
        """Return the columns to select, and their values: the id, then what `of` needs of a row."""
        size = f"octet_length({field})"
        if self.metric == "euclidean":
            columns = f"CASE {size} WHEN ? THEN vec_distance_L2({field}, ?) END AS distance, NULL AS cosine"
            values: tuple[Any, ...] = (len(self.vector), self.vector)
        else:
            # The distance to a zero vector is the vector's length.
            columns = (
                f"CASE {size} WHEN ? THEN vec_distance_L2({field}, ?) END AS distance, "
                f"CASE {size} WHEN ? THEN vec_distance_cosine({field}, ?) END AS cosine"
            )
            values = (len(self.vector), bytes(len(self.vector)), len(self.vector), self.vector)
        return f"id, {size} AS size, {columns}", values

    def of(self, rows: list[tuple[str, int, float | None, float | None]]) -> list[str] | None:
        """Return the ids of the rows whose score may be among the `most` best, `None` if a size differs."""
        if any(size != len(self.vector) for _, size, _, _ in rows):
            return None
        bounds = [(id, *self._bounds(distance, cosine)) for id, _, distance, cosine in rows]
        best = heapq.nlargest(max(self.most, 1), (low for _, low, _ in bounds))
        # A row below as many others is not among the best, whatever the rounding has done.
        threshold = best[-1] if len(best) >= self.most else -math.inf
        return [id for id, _, high in bounds if high >= threshold]

    def _bounds(self, distance: float | None, cosine: float | None) -> tuple[float, float]:
        """Return the bounds of a row's score; infinite if its numbers are too large or too small."""
        if distance is None or not SHORTEST < distance < LONGEST:
            return -math.inf, math.inf
        error = relative_error(len(self.vector) // 4)
        if self.metric == "euclidean":
            score, error = -distance, error * distance
        elif cosine is None:
            return -math.inf, math.inf
        elif self.metric == "dot":
            scale = distance * self.length
            score, error = (1 - cosine) * scale, 2 * error * scale
        else:
            score = 1 - cosine
        return score - error, score + error


class NearestCandidatesStatement(TextStatement, eq=False, gc=False):
    """Computes the distances, and gives the ids of the rows that may be among the nearest."""

    candidates: Candidates

    def result(self, rows: list[Any]) -> list[str] | None:
        return self.candidates.of(rows)


def candidates_of(read: NearestCandidates) -> Candidates | None:
    """Return the candidates' chooser; `None` if the vector is too long or too short for single precision."""
    length = bounded_length(read)
    return None if length is None else Candidates(read.vector, length, read.metric, read.most)
