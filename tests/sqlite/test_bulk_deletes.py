"""Facts about the deletion of many documents at once, which SQLite does without the schema's triggers."""

from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import pytest_asyncio

from swarm_persistence import DocumentModel, SqliteStorage
from swarm_persistence.engines.sql.sqlite.statements import MANY

NOTES = ("notes",)


@pytest_asyncio.fixture
async def storage(tmp_path: Path) -> AsyncIterator[SqliteStorage]:
    """Give a storage with many documents."""
    async with await SqliteStorage.open(tmp_path / "swarm.db") as storage:
        await storage.put_documents([DocumentModel.new(NOTES, f"{number:04}", "a word") for number in range(MANY)])
        yield storage


def rows(storage: SqliteStorage, sql: str) -> list[Any]:
    """Return what a statement gives."""
    engine: Any = storage.engine
    with engine._opened_reader() as connection:
        found: list[Any] = connection.execute(sql).fetchall()
    return found


async def test_the_change_numbers_of_many_deleted_documents_are_not_given_again(storage: SqliteStorage) -> None:
    ((highest,),) = rows(storage, "SELECT max(change_number) FROM documents")

    assert await storage.delete_documents(NOTES) == MANY
    await storage.put_documents([DocumentModel.new(NOTES, "later")])

    assert rows(storage, "SELECT change_number FROM documents") == [(highest + 1,)]


async def test_the_indexed_words_of_many_deleted_documents_are_deleted(storage: SqliteStorage) -> None:
    await storage.index_documents(NOTES)
    assert len(await storage.search_documents("word", NOTES, limit=MANY)) == MANY

    assert await storage.delete_documents(NOTES) == MANY

    assert rows(storage, "SELECT rowid FROM document_words WHERE document_words MATCH 'word'") == []


async def test_the_triggers_act_again_after_many_documents_were_deleted(storage: SqliteStorage) -> None:
    assert await storage.delete_documents(NOTES) == MANY
    await storage.put_documents([DocumentModel.new(NOTES, "later")])
    ((number,),) = rows(storage, "SELECT change_number FROM documents")

    await storage.delete_documents(NOTES, keys=["later"])

    assert rows(storage, "SELECT number FROM change_floor") == [(number,)]


async def test_a_rollback_restores_many_deleted_documents(storage: SqliteStorage) -> None:
    async with storage.transaction() as transaction:
        assert await storage.delete_documents(NOTES) == MANY
        await transaction.rollback()

    assert len(await storage.list_document_keys(NOTES)) == MANY


async def test_a_trigger_of_the_callers_own_acts_on_each_of_many_deleted_documents(storage: SqliteStorage) -> None:
    engine: Any = storage.engine
    with closing(apsw.Connection(engine.path)) as connection:
        connection.execute("CREATE TABLE deleted (key TEXT)")
        connection.execute(
            "CREATE TRIGGER note AFTER DELETE ON documents BEGIN INSERT INTO deleted VALUES (OLD.key); END"
        )

    assert await storage.delete_documents(NOTES) == MANY

    assert rows(storage, "SELECT count(*) FROM deleted") == [(MANY,)]


async def test_the_deletion_of_many_documents_knows_all_of_their_triggers(storage: SqliteStorage) -> None:
    triggers = rows(storage, "SELECT name FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = 'documents'")

    assert sorted(triggers) == [("document_words_deleted",), ("documents_deleted",)]
