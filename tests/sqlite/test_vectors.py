"""Facts about sqlite-vec, the extra `vectors`: it changes how the nearest are found, and not which they are."""

import random
import struct
from collections.abc import Callable
from typing import Any, get_args

import apsw
import pytest

from swarm_persistence import DocumentModel, InvalidQueryError, SqliteStorage, StorageError
from swarm_persistence.engines.reads import Metric
from swarm_persistence.engines.sql.sqlite import statement_compiler, vectors
from swarm_persistence.schema.values import numbers_of

METRICS: tuple[Metric, ...] = get_args(Metric)
DIMENSIONS = 16
Vector = list[float]


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


async def keep(storage: SqliteStorage, given: list[Vector]) -> None:
    await storage.put_documents(
        [DocumentModel.new(("v",), f"{place:03}", embedding=vector) for place, vector in enumerate(given)]
    )


async def outcome(storage: SqliteStorage, wanted: Vector, **options: Any) -> Any:
    """Return keys and scores of the nearest documents, or the error."""
    try:
        found = await storage.nearest_documents(wanted, ("v",), **options)
    except StorageError as error:
        return type(error), str(error)
    return [(each.document.key, each.score) for each in found]


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Give a function that lets sqlite-vec be missing, or be there."""
    assert vectors.IS_INSTALLED  # else these tests compare the scan with itself
    return lambda is_missing: monkeypatch.setattr(statement_compiler, "IS_INSTALLED", not is_missing)


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Give the vectors that Python has read."""
    seen: list[bytes] = []

    def noted(data: bytes) -> Vector:
        seen.append(data)
        return numbers_of(data)

    monkeypatch.setattr("swarm_persistence.storage.document_search.numbers_of", noted)
    return seen


@pytest.mark.parametrize("kind", KINDS)
async def test_the_nearest_are_the_same_with_and_without(
    storage: SqliteStorage, without: Callable[[bool], None], kind: str
) -> None:
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


@pytest.mark.parametrize("metric", METRICS)
async def test_few_vectors_leave_the_database(storage: SqliteStorage, scored: list[bytes], metric: Metric) -> None:
    rnd = random.Random(3)
    await keep(storage, _usual(rnd))

    assert len(await outcome(storage, a_vector(rnd), metric=metric, limit=5)) == 5

    assert len(scored) <= 1 + 10  # the given one, and the best


async def test_without_it_all_are_read(
    storage: SqliteStorage, scored: list[bytes], without: Callable[[bool], None]
) -> None:
    without(True)
    rnd = random.Random(3)
    await keep(storage, _usual(rnd))

    await outcome(storage, a_vector(rnd), limit=5)

    assert len(scored) == 1 + 300


async def test_other_dimensions_are_refused_alike(storage: SqliteStorage, without: Callable[[bool], None]) -> None:
    await keep(storage, [[1.0, 0.0], [1.0, 0.0, 0.0]])

    for is_missing in (True, False):
        without(is_missing)
        kind, text = await outcome(storage, [1.0, 0.0])
        assert kind is InvalidQueryError
        assert "embedding has 2 dimensions, expected 3 as document 'v! 001' has" in text


async def test_a_vector_that_was_cut_off_is_told_alike(storage: SqliteStorage, without: Callable[[bool], None]) -> None:
    await keep(storage, [[1.0, 0.0], [0.0, 1.0]])
    connection = apsw.Connection(storage.path)
    connection.execute("UPDATE documents SET embedding = x'0000803f00' WHERE key = '001'").fetchall()
    connection.close()

    outcomes = []
    for is_missing in (True, False):
        without(is_missing)
        try:
            outcomes.append(repr(await outcome(storage, [1.0, 0.0])))
        except Exception as error:
            outcomes.append(repr(error))

    assert outcomes[0] == outcomes[1]


async def test_a_transaction_finds_its_own_documents(storage: SqliteStorage) -> None:
    await keep(storage, [[1.0, 1.0]])

    async with storage.transaction():
        await storage.put_documents([DocumentModel.new(("v",), "new", embedding=[1.0, 0.0])])
        assert [key for key, _ in await outcome(storage, [1.0, 0.0])] == ["new", "000"]
        await storage.delete_documents(("v",), keys=["000"])
        assert [key for key, _ in await outcome(storage, [1.0, 0.0])] == ["new"]


async def test_other_extensions_cannot_be_loaded_afterwards(storage: SqliteStorage) -> None:
    await outcome(storage, [1.0])

    connection = storage._engine._writer.commits.connection
    with pytest.raises(apsw.SQLError):
        connection.execute("SELECT load_extension('missing')").fetchall()
    with pytest.raises(apsw.ExtensionLoadingError):
        connection.load_extension("missing")
