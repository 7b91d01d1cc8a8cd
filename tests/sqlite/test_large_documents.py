"""Facts about documents of many megabytes: no event loop reads or writes them in its own thread."""

import threading
from typing import Any

import pytest

from swarm_persistence import DocumentModel, SqliteStorage
from swarm_persistence.engines.sql.sqlite.execution import fetch
from swarm_persistence.engines.sql.statements import Statement

LARGE = bytes(range(256)) * 80_000


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """Give the names of the threads that have read records, each with what it got."""
    seen: list[tuple[str, Any]] = []

    def watched(cursor: Any, statement: Statement) -> Any:
        result = fetch(cursor, statement)
        seen.append((threading.current_thread().name, result))
        return result

    monkeypatch.setattr("swarm_persistence.engines.sql.sqlite.readers.fetch", watched)
    return seen


async def test_twenty_megabytes_come_back_from_a_readers_thread(
    storage: SqliteStorage, threads: list[tuple[str, Any]]
) -> None:
    document = DocumentModel.new(("files",), "large", {"name": "x"}, LARGE)
    await storage.put_documents([document])

    for _ in range(3):
        assert await storage.get_document(("files",), "large") == document

    assert [(name, result == document) for name, result in threads] == [("swarm-persistence reader", True)] * 3


async def test_a_small_document_is_read_in_the_loops_own_thread(
    storage: SqliteStorage, threads: list[tuple[str, Any]]
) -> None:
    await storage.put_documents([DocumentModel.new(("files",), "small", "x", b"y")])

    while not threads or threads[-1][0] != threading.current_thread().name:
        assert await storage.get_document(("files",), "small") is not None


async def test_a_transaction_writes_and_reads_a_large_document(storage: SqliteStorage) -> None:
    document = DocumentModel.new(("files",), "large", None, LARGE)

    async with storage.transaction():
        await storage.put_documents([document])
        assert await storage.get_document(("files",), "large") == document
        document.data = LARGE[::-1]
        await storage.update_document(document)

    assert await storage.take_document(("files",), "large") == document
