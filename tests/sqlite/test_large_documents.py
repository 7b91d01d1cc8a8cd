"""Facts about documents of many megabytes: no event loop reads or writes them in its own thread."""

import threading
from pathlib import Path
from typing import Any

import pytest

from swarm_persistence import DocumentModel, SqliteStorage
from swarm_persistence.engines.sql.sqlite.execution import fetch
from swarm_persistence.engines.sql.sqlite.group_commit import GroupCommit
from swarm_persistence.engines.sql.sqlite.operations import Operation
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


class TestWrites:
    @pytest.fixture
    def writing_threads(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """Give the names of the threads that have run writes."""
        names: list[str] = []
        run_group, run_operation = GroupCommit.run_group, GroupCommit.run_operation

        def noted_group(self: GroupCommit, batches: list[Any], *, may_wait: bool) -> Any:
            names.extend(threading.current_thread().name for _ in batches)
            return run_group(self, batches, may_wait=may_wait)

        def noted_operation(self: GroupCommit, operation: Operation, **options: bool) -> None:
            names.append(threading.current_thread().name)
            run_operation(self, operation, **options)

        monkeypatch.setattr(GroupCommit, "run_group", noted_group)
        monkeypatch.setattr(GroupCommit, "run_operation", noted_operation)
        return names

    @pytest.fixture
    async def patient(self, path: Path) -> Any:
        """Give a storage in which no operation counts as slow because the machine is busy."""
        async with await SqliteStorage.builder().longest_stay(3600).build(path) as storage:
            yield storage

    async def test_no_large_one_runs_in_the_loops_own_thread(
        self, patient: SqliteStorage, writing_threads: list[str]
    ) -> None:
        document = DocumentModel.new(("files",), "large", None, LARGE)
        for step in ("put", "update", "save"):
            while not writing_threads or writing_threads[-1] != threading.current_thread().name:
                await patient.put_documents([DocumentModel.new(("files",), "small")])
            writing_threads.clear()

            if step == "put":
                await patient.put_documents([document])
            elif step == "update":
                await patient.update_document(document)
            else:
                await patient.repository(DocumentModel).save(document)

            assert set(writing_threads) == {"swarm-persistence writer"}, step
            writing_threads.clear()

    async def test_none_of_a_transaction_does(self, patient: SqliteStorage, writing_threads: list[str]) -> None:
        document = DocumentModel.new(("files",), "large", None, LARGE)
        async with patient.transaction():
            await patient.put_documents([DocumentModel.new(("files",), "small")])
            assert set(writing_threads) == {threading.current_thread().name}
            writing_threads.clear()

            await patient.put_documents([document])
            await patient.update_document(document)
            document.value = "x" * 100_000
            await patient.update_document(document)

        assert set(writing_threads) == {"swarm-persistence writer"}
