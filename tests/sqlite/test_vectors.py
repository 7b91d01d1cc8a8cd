"""Facts about sqlite-vec, the extra `vectors`: it changes how the nearest are found, and not which they are."""

import random
from collections.abc import Callable

import apsw
import pytest

from sqlite.vector_kinds import (
    KINDS,
    METRICS,
    a_vector,
    keep,
    note_scored,
    outcome,
    require_other_dimensions_are_refused,
    require_the_same,
)
from swarm_persistence import DocumentModel, SqliteStorage
from swarm_persistence.engines.reads import Metric
from swarm_persistence.engines.sql.sqlite import statement_compiler, vectors


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Give a function that lets sqlite-vec be missing, or be there."""
    assert vectors.IS_INSTALLED  # else these tests compare the scan with itself
    return lambda is_missing: monkeypatch.setattr(statement_compiler, "IS_INSTALLED", not is_missing)


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Give the vectors that Python has read."""
    return note_scored(monkeypatch)


@pytest.mark.parametrize("kind", KINDS)
async def test_the_nearest_are_the_same_with_and_without(
    storage: SqliteStorage, without: Callable[[bool], None], kind: str
) -> None:
    await require_the_same(storage, kind, without)


@pytest.mark.parametrize("metric", METRICS)
async def test_few_vectors_leave_the_database(storage: SqliteStorage, scored: list[bytes], metric: Metric) -> None:
    rnd = random.Random(3)
    await keep(storage, KINDS["usual"](rnd))

    assert len(await outcome(storage, a_vector(rnd), metric=metric, limit=5)) == 5

    assert len(scored) <= 1 + 10  # the given one, and the best


async def test_without_it_all_are_read(
    storage: SqliteStorage, scored: list[bytes], without: Callable[[bool], None]
) -> None:
    without(True)
    rnd = random.Random(3)
    await keep(storage, KINDS["usual"](rnd))

    await outcome(storage, a_vector(rnd), limit=5)

    assert len(scored) == 1 + 300


async def test_other_dimensions_are_refused_alike(storage: SqliteStorage, without: Callable[[bool], None]) -> None:
    await require_other_dimensions_are_refused(storage, without)


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
