"""Facts about the index of words in a file."""

from pathlib import Path

import apsw
import pytest

from sqlite.old_release import WITHOUT_WORD_INDEX, unpack
from sqlite.programs import Program
from sqlite.test_neighbours import schema_of
from sqlite.tracing import Watch
from sqlite.word_index import NAME, NOTES, fill, found, program_of_old_code, require_neighbourliness
from swarm_persistence import DocumentModel, MemoryStorage, SqliteStorage
from swarm_persistence.engines.sql.sqlite import schema_version
from swarm_persistence.engines.sql.sqlite.migrations import LATEST, MIGRATIONS

_STEP = next(step for step in MIGRATIONS if step.name == NAME)


async def test_a_filled_file_is_brought_back_and_up(storage: SqliteStorage, path: Path) -> None:
    plain = path.with_name("plain.db")
    connection = apsw.Connection(str(plain))
    schema_version.migrate(connection, _STEP.version - 1)
    connection.close()
    await fill(storage)

    await storage.migrate_to(_STEP.version - 1)
    assert schema_of(path) == schema_of(plain)
    await storage.migrate_to(LATEST)

    assert await found(storage, "w7") == ["7"]
    await storage.index_documents(NOTES)
    assert await found(storage, "w7") == ["7"]


async def test_what_programs_of_the_old_code_write_is_found(
    path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    old = unpack(WITHOUT_WORD_INDEX, tmp_path_factory.mktemp("old"))
    running = Program(program_of_old_code("SqliteStorage"), path, old)
    assert running.wait_for_line() == str(_STEP.version - 1)

    async with await SqliteStorage.open(path) as storage:
        started_later = Program(program_of_old_code("SqliteStorage"), path, old)
        assert started_later.wait_for_line() == str(LATEST)
        await require_neighbourliness(storage, running, started_later)


async def test_a_search_reads_only_what_matches(storage: SqliteStorage, watch: Watch) -> None:
    await fill(storage)
    watch.statements.clear()

    assert await found(storage, "w7 common") == ["7"]

    # Each once: a read that the loop's own thread gives up, as at a busy file, is run again by another.
    reads = {each for each in watch.statements if "value" in each.partition("FROM")[0] and "document_words" not in each}
    assert len(reads) == 2  # of the one that may match, and of the one that does
    assert all("WHERE sequence =" in each or "WHERE id =" in each for each in reads), reads


async def test_a_put_writes_no_words(storage: SqliteStorage, watch: Watch) -> None:
    await fill(storage)
    watch.statements.clear()

    await storage.put_documents([DocumentModel.new(NOTES, "new", "word")])

    assert not [each for each in watch.statements if "document_words" in each]


async def test_a_search_in_the_transaction_of_another_storage_indexes_what_was_put(
    storage: SqliteStorage, watch: Watch
) -> None:
    await fill(storage)
    await storage.put_documents([DocumentModel.new(NOTES, "new", "word")])
    watch.statements.clear()

    async with MemoryStorage() as other, other.transaction():
        assert sorted(await found(storage, "word")) == ["new", "old"]

    assert [each for each in watch.statements if each.startswith("INSERT") and "document_words" in each]


async def test_a_deleted_document_leaves_no_words(storage: SqliteStorage, path: Path) -> None:
    await fill(storage)
    await storage.delete_documents(NOTES)
    connection = apsw.Connection(str(path))

    assert connection.execute("SELECT count(*) FROM document_words WHERE document_words MATCH 'common'").get == 0
    assert await found(storage, "common") == []
    connection.close()
