"""Vectors that single precision can hardly tell apart, and what a search finds of them; for files and for servers."""

import random
import struct
from collections.abc import Callable
from typing import Any, get_args

import pytest

from swarm_persistence import DocumentModel, InvalidQueryError, Storage, StorageError
from swarm_persistence.engines.reads import Metric
from swarm_persistence.schema.values import numbers_of

METRICS: tuple[Metric, ...] = get_args(Metric)
DIMENSIONS = 16
Vector = list[float]


def note_scored(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Return the list to which each vector that Python scores from now on is added."""
    seen: list[bytes] = []

    def noted(data: bytes) -> Vector:
        seen.append(data)
        return numbers_of(data)

    monkeypatch.setattr("swarm_persistence.storage.document_search.numbers_of", noted)
    return seen


def single(number: float) -> float:
    """Return a number as single precision has it."""
    (rounded,) = struct.unpack("<f", struct.pack("<f", number))
    return float(rounded)


def a_vector(rnd: random.Random, scale: float = 1.0) -> Vector:
    return [single(rnd.gauss(0, 1) * scale) for _ in range(DIMENSIONS)]


def next_to(vector: Vector, place: int) -> Vector:
    """Return the vector with one number as close to its own as single precision allows."""
    (bits,) = struct.unpack("<i", struct.pack("<f", vector[place]))
    (other,) = struct.unpack("<f", struct.pack("<i", bits + 1))
    return [*vector[:place], other, *vector[place + 1 :]]


def _usual(rnd: random.Random) -> list[Vector]:
    return [a_vector(rnd) for _ in range(300)]


def _nearly_equal(rnd: random.Random) -> list[Vector]:
    one = a_vector(rnd)
    return [one, *(next_to(one, place) for place in range(DIMENSIONS) for _ in range(3)), *_usual(rnd)[:50]]


def _of_all_sizes(rnd: random.Random) -> list[Vector]:
    return [a_vector(rnd, 10.0**power) for power in range(-45, 38) for _ in range(3)]


def _mixed(rnd: random.Random) -> list[Vector]:
    """Return vectors whose numbers differ by more than single precision holds, and such without a direction."""
    scales = [1e-40, 1e-20, 1.0, 1e19, 1e30]
    mixed = [[single(rnd.gauss(0, 1) * rnd.choice(scales)) for _ in range(DIMENSIONS)] for _ in range(100)]
    return [*mixed, [0.0] * DIMENSIONS, [-0.0] * DIMENSIONS, [1e-45] * DIMENSIONS, [3.4e38] * DIMENSIONS]


def _multiples(rnd: random.Random) -> list[Vector]:
    one = a_vector(rnd)
    return [[number * 2.0**power for number in one] for power in range(-20, 20)]


def _tiny_copies(rnd: random.Random) -> list[Vector]:
    """Return copies of one vector that are the nearest to it, though too small for their lengths to be computed."""
    one = a_vector(rnd)
    near = [[single(number + rnd.gauss(0, 0.02)) for number in one] for _ in range(50)]
    return [one, *([single(number * 10 ** (-21 - step / 10)) for number in one] for step in range(20)), *near]


KINDS: dict[str, Callable[[random.Random], list[Vector]]] = {
    "usual": _usual,
    "nearly equal": _nearly_equal,
    "of all sizes": _of_all_sizes,
    "mixed": _mixed,
    "multiples": _multiples,
    "tiny copies": _tiny_copies,
}


async def keep(storage: Storage, given: list[Vector]) -> None:
    await storage.put_documents(
        [DocumentModel.new(("v",), f"{place:03}", embedding=vector) for place, vector in enumerate(given)]
    )


async def outcome(storage: Storage, wanted: Vector, **options: Any) -> Any:
    """Return keys and scores of the nearest documents, or the error."""
    try:
        found = await storage.nearest_documents(wanted, ("v",), **options)
    except StorageError as error:
        return type(error), str(error)
    return [(each.document.key, each.score) for each in found]


async def require_the_same(storage: Storage, kind: str, without: Callable[[bool], None]) -> None:
    """Require that searches find the same with and without functions of vectors; `without` switches them."""
    rnd = random.Random(kind)
    given = KINDS[kind](rnd)
    await keep(storage, given)
    wanted = [given[0], given[-1], a_vector(rnd), a_vector(rnd, 1e-20), a_vector(rnd, 1e20), [0.0] * DIMENSIONS]
    for metric in METRICS:
        for vector in wanted:
            for limit in (0, 1, 7, 1000):
                without(True)
                expected = await outcome(storage, vector, metric=metric, limit=limit)
                without(False)
                assert await outcome(storage, vector, metric=metric, limit=limit) == expected


async def require_other_dimensions_are_refused(storage: Storage, without: Callable[[bool], None]) -> None:
    """Require that vectors of another number of dimensions are refused alike; `without` switches the functions."""
    await keep(storage, [[1.0, 0.0], [1.0, 0.0, 0.0]])

    for is_missing in (True, False):
        without(is_missing)
        kind, text = await outcome(storage, [1.0, 0.0])
        assert kind is InvalidQueryError
        assert "embedding has 2 dimensions, expected 3 as document 'v! 001' has" in text
