"""Facts about the index of words on a server."""

from itertools import cycle
from pathlib import Path

import asyncpg

from postgres.servers import Server
from sqlite.old_release import WITHOUT_WORD_INDEX, unpack
from sqlite.programs import Program
from sqlite.word_index import NAME, NOTES, fill, found, program_of_old_code, require_neighbourliness
from swarm_persistence import DocumentModel, PostgresStorage
from swarm_persistence.engines.sql.postgres.migrations import LATEST, MIGRATIONS

_STEP = next(step for step in MIGRATIONS if step.name == NAME)


async def test_a_filled_schema_is_brought_back_and_up(storage: PostgresStorage, url: str) -> None:
    await fill(storage)

    await storage.migrate_to(_STEP.version - 1)
    async with await PostgresStorage.open(url) as again:
        await again.migrate_to(LATEST)

        assert await found(again, "w7") == ["7"]
        await again.index_documents(NOTES)
        assert await found(again, "w7") == ["7"]


async def test_what_programs_of_the_old_code_write_is_found(server: Server, schema: str, tmp_path: Path) -> None:
    url, old = server.url(schema=schema), unpack(WITHOUT_WORD_INDEX, tmp_path)
    running = Program(program_of_old_code("PostgresStorage"), url, old)
    assert running.wait_for_line() == str(_STEP.version - 1)

    async with await PostgresStorage.open(url) as storage:
        started_later = Program(program_of_old_code("PostgresStorage"), url, old)
        assert started_later.wait_for_line() == str(LATEST)
        await require_neighbourliness(storage, running, started_later)


async def test_an_index_of_another_server_begins_anew(
    storage: PostgresStorage, admin: asyncpg.Connection, schema: str
) -> None:
    await fill(storage)
    # As a dump of a server that is far ahead would bring it.
    await admin.execute(f"UPDATE {schema}.document_indexes SET change_number = 4000000000, origin = 'elsewhere'")

    await storage.put_documents([DocumentModel.new(NOTES, "new", "word")])

    assert await found(storage, "word") == ["new", "old"]
    assert await admin.fetchval(f"SELECT change_number < 4000000000 FROM {schema}.document_indexes")


async def test_the_words_are_found_by_their_index(
    storage: PostgresStorage, admin: asyncpg.Connection, schema: str, statements: list[str]
) -> None:
    await storage.index_documents(NOTES)
    common = " ".join(f"common{number}" for number in range(40))
    documents = [DocumentModel.new(NOTES, f"{number:04}", f"{common} w{number}") for number in range(3000)]
    await storage.put_documents(documents)
    await storage.index_documents(NOTES)
    await admin.execute(f"ANALYZE {schema}.document_words, {schema}.documents")
    statements.clear()

    assert await found(storage, "w7") == ["0007"]

    (text,) = [each for each in statements if "@>" in each]
    assert "document_words_by_word" in str(await _plan(admin, text))


async def _plan(admin: asyncpg.Connection, text: str) -> object:
    await admin.execute(f"PREPARE word_search AS {text}")
    types = await admin.fetchval(
        "SELECT parameter_types::text[] FROM pg_prepared_statements WHERE name = 'word_search'"
    )
    bounds = cycle(("'notes!'", "'notes\"'"))
    values = {"text[]": "ARRAY['w7']", "bigint": "2000000000"}
    arguments = ", ".join(next(bounds) if each == "text" else values.get(each, "NULL") for each in types)
    return await admin.fetchval(f"EXPLAIN (FORMAT JSON) EXECUTE word_search ({arguments})")


async def test_a_deleted_document_leaves_no_words(
    storage: PostgresStorage, admin: asyncpg.Connection, schema: str
) -> None:
    await fill(storage)
    await storage.delete_documents(NOTES)

    assert await admin.fetchval(f"SELECT count(*) FROM {schema}.document_words") == 0
    assert await found(storage, "common") == []
