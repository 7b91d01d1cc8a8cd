"""Facts about pgvector: it changes how the nearest are found, and not which they are."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from postgres.poolers import new_pooler
from postgres.servers import Server, embedded_programs, new_server
from postgres.test_failover import new_standby
from sqlite.old_release import WITHOUT_VECTORS, of_release, unpack
from sqlite.programs import Program
from sqlite.vector_kinds import (
    KINDS,
    METRICS,
    Vector,
    a_vector,
    keep,
    note_scored,
    outcome,
    require_other_dimensions_are_refused,
    require_the_same,
)
from swarm_persistence import DocumentModel, PostgresStorage
from swarm_persistence.engines.sql.postgres import statement_compiler
from swarm_persistence.engines.sql.postgres.migrations import LATEST, MIGRATIONS
from swarm_persistence.engines.sql.postgres.vectors import MOST_DIMENSIONS, may_use_functions

_DATABASE = "vectors"
_STEP = next(step for step in MIGRATIONS if step.name == "copies of embeddings")
_V = ("v",)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def database(server: Server) -> str:
    """Give the name of a database that has the extension."""
    connection = await asyncpg.connect(server.url())
    await connection.execute(f"CREATE DATABASE {_DATABASE}")
    await connection.close()
    connection = await asyncpg.connect(server.url(database=_DATABASE))
    await connection.execute('CREATE SCHEMA "its own"; CREATE EXTENSION vector SCHEMA "its own"')
    await connection.close()
    return _DATABASE


@pytest.fixture
def url(server: Server, schema: str, database: str) -> str:
    """Give the URL of an unused schema of the database."""
    return server.url(database=database, schema=schema)


@pytest_asyncio.fixture
async def admin(server: Server, database: str) -> AsyncIterator[asyncpg.Connection]:
    """Give a connection to the database, beside the storage's own."""
    connection = await asyncpg.connect(server.url(database=database))
    yield connection
    await connection.close()


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Give a function that lets pgvector be missing, or be there."""

    def switch(is_missing: bool) -> None:
        found = (lambda read: False) if is_missing else may_use_functions
        monkeypatch.setattr(statement_compiler, "may_use_functions", found)

    return switch


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Give the vectors that were scored in this process."""
    return note_scored(monkeypatch)


async def nearest(storage: PostgresStorage, wanted: Vector) -> list[str]:
    """Return the keys of the nearest documents."""
    return [each.document.key for each in await storage.nearest_documents(wanted, _V)]


async def copied(admin: asyncpg.Connection, schema: str) -> int:
    """Return how many embeddings have been copied."""
    count: int = await admin.fetchval(f"SELECT count(*) FROM {schema}.document_vectors")
    return count


@pytest.mark.parametrize("kind", KINDS)
async def test_the_nearest_are_the_same_with_and_without(
    storage: PostgresStorage, without: Callable[[bool], None], kind: str
) -> None:
    await require_the_same(storage, kind, without)


@pytest.mark.parametrize("metric", METRICS)
async def test_few_vectors_leave_the_server(storage: PostgresStorage, scored: list[bytes], metric: str) -> None:
    rnd = random.Random(3)
    await keep(storage, KINDS["usual"](rnd))

    for _ in range(2):
        scored.clear()
        assert len(await outcome(storage, a_vector(rnd), metric=metric, limit=5)) == 5
        assert len(scored) <= 1 + 10  # the given one, and the best


async def test_without_the_extension_all_are_read(
    storage: PostgresStorage, scored: list[bytes], admin: asyncpg.Connection, schema: str
) -> None:
    """It is dropped and created again while the storage is open."""
    rnd = random.Random(3)
    await keep(storage, KINDS["usual"](rnd))
    wanted = a_vector(rnd)
    expected = await outcome(storage, wanted, limit=5)

    await admin.execute("DROP EXTENSION vector")
    scored.clear()
    try:
        assert await outcome(storage, wanted, limit=5) == expected
        async with storage.transaction():
            assert await outcome(storage, wanted, limit=5) == expected
        assert len(scored) == 2 * (1 + 300)
    finally:
        await admin.execute('CREATE EXTENSION vector SCHEMA "its own"')

    scored.clear()
    assert await outcome(storage, wanted, limit=5) == expected
    assert len(scored) <= 1 + 10
    assert await copied(admin, schema) == 300


async def test_a_changed_embedding_counts_at_once(storage: PostgresStorage) -> None:
    await keep(storage, [[1.0, 0.0], [0.0, 1.0]])
    assert await nearest(storage, [1.0, 0.1]) == ["000", "001"]

    await storage.put_documents([DocumentModel.new(_V, "000", embedding=[-1.0, 0.0])])
    assert await nearest(storage, [1.0, 0.1]) == ["001", "000"]

    await storage.put_documents([DocumentModel.new(_V, "001")])
    assert await nearest(storage, [1.0, 0.1]) == ["000"]


async def test_a_transaction_finds_its_own_documents(
    storage: PostgresStorage, admin: asyncpg.Connection, schema: str
) -> None:
    await keep(storage, [[1.0, 1.0]])
    await nearest(storage, [1.0, 0.0])

    async with storage.transaction():
        for turned in ([1.0, 0.0], [0.0, 1.0]):
            await storage.put_documents([DocumentModel.new(_V, "new", embedding=turned)])
            assert await nearest(storage, turned) == ["new", "000"]
        await storage.delete_documents(_V, keys=["000"])
        assert await nearest(storage, [1.0, 0.0]) == ["new"]

    assert await copied(admin, schema) == 0
    assert await nearest(storage, [1.0, 0.0]) == ["new"]
    assert await copied(admin, schema) == 1


async def test_other_dimensions_are_refused_alike(storage: PostgresStorage, without: Callable[[bool], None]) -> None:
    await require_other_dimensions_are_refused(storage, without)


async def test_more_dimensions_than_pgvector_has_are_compared(storage: PostgresStorage) -> None:
    one = [float(number % 7) for number in range(MOST_DIMENSIONS + 1)]
    await keep(storage, [one[::-1], one])

    assert await nearest(storage, one) == ["001", "000"]


@pytest.mark.parametrize("damaged", ["0000803f00", "0000c07f0000803f", "0000807f00000000"])
async def test_what_is_no_vector_is_told_alike(
    storage: PostgresStorage, without: Callable[[bool], None], admin: asyncpg.Connection, schema: str, damaged: str
) -> None:
    """A vector that was cut off, and such with NaN and infinity, which no verb stores."""
    await keep(storage, [[1.0, 0.0], [0.0, 1.0]])
    await admin.execute(f"UPDATE {schema}.documents SET embedding = '\\x{damaged}' WHERE key = '001'")

    outcomes = []
    for is_missing in (True, False):
        without(is_missing)
        try:
            outcomes.append(repr(await outcome(storage, [1.0, 0.0])))
        except Exception as error:
            outcomes.append(repr(error))

    assert outcomes[0] == outcomes[1]


async def test_a_deleted_document_leaves_no_copy(
    storage: PostgresStorage, admin: asyncpg.Connection, schema: str
) -> None:
    await keep(storage, [[1.0], [2.0]])
    await nearest(storage, [1.0])
    assert await copied(admin, schema) == 2

    await storage.delete_documents(_V)
    assert await copied(admin, schema) == 0


async def test_a_document_that_is_being_deleted_is_not_copied(
    storage: PostgresStorage, other: PostgresStorage, admin: asyncpg.Connection, schema: str
) -> None:
    await keep(storage, [[1.0], [2.0]])

    async with other.transaction():
        await other.delete_documents(_V, keys=["000"])
        assert await nearest(storage, [1.0]) == ["000", "001"]

    assert await copied(admin, schema) == 1


async def test_searches_at_once_find_the_same(storage: PostgresStorage, other: PostgresStorage) -> None:
    rnd = random.Random(5)
    await keep(storage, KINDS["usual"](rnd))
    wanted = a_vector(rnd)

    found = await asyncio.gather(*(outcome(each, wanted) for each in (storage, other) for _ in range(5)))

    assert all(each == found[0] for each in found)


async def test_a_role_that_may_only_read_searches_all(
    storage: PostgresStorage, admin: asyncpg.Connection, server: Server, schema: str, scored: list[bytes]
) -> None:
    await keep(storage, KINDS["usual"](random.Random(3)))
    wanted = a_vector(random.Random(4))
    await admin.execute(
        f"CREATE ROLE reader_{schema} LOGIN PASSWORD 'secret'; GRANT USAGE ON SCHEMA {schema} TO reader_{schema};"
        f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO reader_{schema}"
    )
    url = server.url(user=f"reader_{schema}", password="secret", database=_DATABASE, schema=schema)

    async with await PostgresStorage.open(url, migrate=False) as reader:
        scored.clear()
        found = await outcome(reader, wanted)
        assert len(scored) == 1 + 300  # it may not use the schema of the extension
        await admin.execute(f'GRANT USAGE ON SCHEMA "its own" TO reader_{schema}')
        assert await outcome(reader, wanted) == found
        assert await copied(admin, schema) == 0
        assert await outcome(storage, wanted) == found
        scored.clear()
        assert await outcome(reader, wanted) == found
        assert len(scored) <= 1 + 20


async def test_a_pooler_in_between_changes_nothing(server: Server, schema: str, scored: list[bytes]) -> None:
    connection = await asyncpg.connect(server.url())
    await connection.execute("CREATE EXTENSION vector")
    rnd = random.Random(3)
    try:
        async with new_pooler(server) as url, await PostgresStorage.open(f"{url}?schema={schema}") as pooled:
            await keep(pooled, KINDS["usual"](rnd))
            for _ in range(3):
                scored.clear()
                assert len(await outcome(pooled, a_vector(rnd), limit=5)) == 5
                assert len(scored) <= 1 + 10
            async with pooled.transaction():
                assert len(await outcome(pooled, a_vector(rnd), limit=5)) == 5
    finally:
        await connection.execute("DROP EXTENSION vector")
        await connection.close()


async def test_a_standby_uses_the_copies_of_its_primary(schema: str, scored: list[bytes]) -> None:
    with new_server(embedded_programs()) as first, new_standby(first) as second:
        first.configure({"synchronous_standby_names": "standby", "synchronous_commit": "remote_apply"})
        first.reload()
        connection = await asyncpg.connect(first.url())
        await connection.execute("CREATE EXTENSION vector")
        await connection.close()
        rnd = random.Random(3)
        wanted = a_vector(rnd)
        async with await PostgresStorage.open(first.url(schema=schema)) as primary:
            await keep(primary, KINDS["usual"](rnd))
            async with await PostgresStorage.open(second.url(schema=schema)) as standby:
                scored.clear()
                found = await outcome(standby, wanted)
                assert len(scored) == 1 + 300
                assert await outcome(primary, wanted) == found
                scored.clear()
                assert await outcome(standby, wanted) == found
                assert len(scored) <= 1 + 20


async def test_a_filled_schema_is_brought_back_and_up(
    storage: PostgresStorage, url: str, admin: asyncpg.Connection, schema: str
) -> None:
    await keep(storage, [[1.0, 0.0], [0.0, 1.0]])
    await nearest(storage, [1.0, 0.1])
    await storage.migrate_to(_STEP.version - 1)

    async with await PostgresStorage.open(url) as again:
        assert await nearest(again, [1.0, 0.1]) == ["000", "001"]
        await again.delete_documents(_V, keys=["000"])
        assert await nearest(again, [1.0, 0.1]) == ["001"]
        assert await copied(admin, schema) == 1
        await again.delete_documents(_V, keys=["001"])
        assert await copied(admin, schema) == 0


_TURN = """
import asyncio
from swarm_persistence import DocumentModel, PostgresStorage

async def main(target):
    async with await PostgresStorage.open(target) as storage:
        print((await storage.migration_status()).version, flush=True)
        while key := input():
            await storage.put_documents([DocumentModel.new(("v",), key, embedding=[1.0, 0.0])])
            print("put", flush=True)

asyncio.run(main(sys.argv[1]))
"""


async def test_what_programs_of_the_old_code_write_is_found(url: str, tmp_path: Path) -> None:
    old = unpack(WITHOUT_VECTORS, tmp_path)
    running = Program(of_release(_TURN), url, old)
    assert running.wait_for_line() == str(_STEP.version - 1)

    async with await PostgresStorage.open(url) as storage:
        started_later = Program(of_release(_TURN), url, old)
        assert started_later.wait_for_line() == str(LATEST)
        for program in (running, started_later):
            await keep(storage, [[-1.0, 0.0], [0.5, 1.0]])
            assert await nearest(storage, [1.0, 0.0]) == ["001", "000"]
            program.tell("000")
            assert program.wait_for_line() == "put"
            assert await nearest(storage, [1.0, 0.0]) == ["000", "001"]
            program.tell("")
            program.finish()
