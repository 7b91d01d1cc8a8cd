"""Facts about a disk that fails for a while: the calls that meet it say so, and the storage works on afterwards."""

import asyncio
import shutil
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import apsw
import pytest
import pytest_asyncio

from sqlite.faulty_disk import Fault, FaultyDisk, faulty_disk
from swarm_persistence import (
    DatabaseError,
    OutcomeUnknownError,
    PoolError,
    SqliteStorage,
    StorageError,
    TaskModel,
    TaskStatus,
    TransactionError,
)
from swarm_persistence.engines.sql.sqlite.settings import SqliteSettings
from swarm_persistence.engines.sql.sqlite.writer_connection import WriterConnection
from swarm_persistence_conformance.records import a_task, an_event


@pytest.fixture
def disk() -> Iterator[FaultyDisk]:
    """Give a disk that fails when the test says so."""
    with faulty_disk() as disk:
        yield disk


@pytest_asyncio.fixture
async def storage(path: Path, disk: FaultyDisk) -> AsyncIterator[SqliteStorage]:
    """Give a storage on that disk."""
    async with await SqliteStorage._open(path, SqliteSettings(vfs=disk.name, connection_timeout=2.0)) as storage:
        yield storage
        disk.fault = None


def failing(method: str, code: int, *, times: float = float("inf"), ending: str = "") -> Fault:
    """Return a fault of one method of the VFS, on files of this ending, so many times."""
    left = times

    def fault(called: str, path: str) -> int | None:
        nonlocal left
        if called != method or not path.endswith(ending) or left <= 0:
            return None
        left -= 1
        return code

    return fault


async def after_a_crash(path: Path) -> set[str]:
    """Return the ids of the tasks that a process finds that opens the files as they are now."""
    copies = path.with_name("crashed")
    await asyncio.to_thread(shutil.rmtree, copies, ignore_errors=True)
    copies.mkdir()
    for suffix in ("", "-wal"):
        shutil.copyfile(f"{path}{suffix}", copies / f"{path.name}{suffix}")
    async with await SqliteStorage.open(copies / path.name) as storage:
        return {task.id for task in await storage.repository(TaskModel).find_all()}


class TestFullDisk:
    async def test_it_refuses_the_write_and_takes_the_next(self, storage: SqliteStorage, disk: FaultyDisk) -> None:
        disk.fault = failing("xWrite", apsw.SQLITE_FULL, ending="-wal")

        with pytest.raises(DatabaseError, match="the disk is full; nothing of the failed operation is stored"):
            await storage.store_task(a_task("a"))

        disk.fault = None
        assert await storage.get_task("a") is None
        await storage.store_task(a_task("a"))


class TestFailedCommit:
    """The log's sync fails after the whole commit was written: it may be stored, or not."""

    async def test_a_new_record_is_tried_again_and_stored_once(
        self, storage: SqliteStorage, disk: FaultyDisk, path: Path
    ) -> None:
        disk.fault = failing("xSync", apsw.SQLITE_IOERR_FSYNC, times=1, ending="-wal")

        await storage.store_task(a_task("a"))

        assert await storage.get_task("a") is not None
        assert await after_a_crash(path) == {"a"}

    async def test_all_records_of_a_group_are_tried_again(
        self, storage: SqliteStorage, disk: FaultyDisk, path: Path
    ) -> None:
        disk.fault = failing("xSync", apsw.SQLITE_IOERR_FSYNC, times=1, ending="-wal")

        await asyncio.gather(
            *(storage.store_task(a_task(f"task-{number}")) for number in range(20)),
            storage.store_tasks([a_task("of a call"), a_task("of the same call")]),
            storage.store_task(a_task("keyed", idempotency_key="key")),
        )

        expected = {f"task-{number}" for number in range(20)} | {"of a call", "of the same call", "keyed"}
        assert await after_a_crash(path) == expected

    @pytest.mark.parametrize("count", [1, 3])
    async def test_a_record_that_is_found_stored_has_the_number_of_the_stored_one(
        self, storage: SqliteStorage, disk: FaultyDisk, monkeypatch: pytest.MonkeyPatch, count: int
    ) -> None:
        confirm = WriterConnection.confirm
        has_failed = False

        def confirm_on_a_failing_disk(connection: WriterConnection) -> None:
            nonlocal has_failed
            if not has_failed:
                has_failed = True
                disk.fault = failing("xRead", apsw.SQLITE_IOERR_READ, ending="-wal")
            try:
                confirm(connection)
            finally:
                disk.fault = None

        await storage.store_event(an_event("before"))
        monkeypatch.setattr(WriterConnection, "confirm", confirm_on_a_failing_disk)

        events = await asyncio.gather(*(storage.store_event(an_event(f"event-{number}")) for number in range(count)))

        assert has_failed
        assert [event.sequence for event in events] == [*range(2, count + 2)]
        assert (await storage.read_events())[1:] == events

    async def test_while_the_disk_fails_the_outcome_is_unknown(
        self, storage: SqliteStorage, disk: FaultyDisk, path: Path
    ) -> None:
        disk.fault = failing("xSync", apsw.SQLITE_IOERR_FSYNC, ending="-wal")

        with pytest.raises(OutcomeUnknownError, match="it may or may not be stored; read it back"):
            await storage.store_task(a_task("a", idempotency_key="key"))

        disk.fault = None
        stored = await storage.store_task(a_task("b", idempotency_key="key"))
        assert await after_a_crash(path) == {stored.id}

    async def test_what_is_read_afterwards_stays_so(self, storage: SqliteStorage, disk: FaultyDisk, path: Path) -> None:
        await storage.store_task(a_task("a"))
        disk.fault = failing("xSync", apsw.SQLITE_IOERR_FSYNC, times=1, ending="-wal")

        with pytest.raises(OutcomeUnknownError):
            await storage.repository(TaskModel).delete("a")

        is_there = await storage.get_task("a") is not None
        assert await after_a_crash(path) == ({"a"} if is_there else set())

    async def test_a_claim_of_unknown_outcome_is_told(self, storage: SqliteStorage, disk: FaultyDisk) -> None:
        await storage.store_task(a_task("a"))
        disk.fault = failing("xSync", apsw.SQLITE_IOERR_FSYNC, times=1, ending="-wal")

        with pytest.raises(OutcomeUnknownError):
            await storage.claim_next_task("agent-1")

        task = await storage.get_task("a")
        assert task is not None
        claimed = await storage.claim_next_task("agent-2")
        assert (claimed is not None) == (task.status is TaskStatus.PENDING)

    async def test_a_completion_and_claim_of_unknown_outcome_can_be_repeated(
        self, storage: SqliteStorage, disk: FaultyDisk
    ) -> None:
        await storage.store_tasks([a_task("a"), a_task("b"), a_task("c")])
        held = await storage.claim_next_tasks("agent-1", limit=1)
        disk.fault = failing("xSync", apsw.SQLITE_IOERR_FSYNC, times=1, ending="-wal")

        with pytest.raises(OutcomeUnknownError):
            await storage.complete_and_claim([(held[0], "done")], "agent-1", limit=1)

        first = await storage.get_task("a")
        assert first is not None
        assert first.claim_count == held[0].claim_count
        is_stored = first.status is TaskStatus.COMPLETED
        again = await storage.complete_and_claim([(held[0], "again")], "agent-1", limit=1)
        task = await storage.get_task("a")
        assert task is not None
        assert (task.status, task.result) == (TaskStatus.COMPLETED, "done" if is_stored else "again")
        assert [each.id for each in again.lost] == (["a"] if is_stored else [])
        # What the first write has claimed with it waits for its lease; no other claim gets it.
        assert [each.id for each in again.claimed] == (["c"] if is_stored else ["b"])

    async def test_a_transaction_of_unknown_outcome_is_told(
        self, storage: SqliteStorage, disk: FaultyDisk, path: Path
    ) -> None:
        transaction = await storage.begin_transaction()
        await storage.store_task(a_task("a"))
        disk.fault = failing("xSync", apsw.SQLITE_IOERR_FSYNC, times=1, ending="-wal")

        with pytest.raises(OutcomeUnknownError):
            await transaction.commit()

        is_there = await storage.get_task("a") is not None
        assert await after_a_crash(path) == ({"a"} if is_there else set())

    async def test_what_was_not_written_whole_is_known_not_to_be_stored(
        self, storage: SqliteStorage, disk: FaultyDisk, path: Path
    ) -> None:
        disk.fault = failing("xWrite", apsw.SQLITE_IOERR_WRITE, ending="-wal")

        with pytest.raises(DatabaseError, match="nothing of the failed operation is stored") as caught:
            await storage.store_task(a_task("a"))

        assert type(caught.value) is DatabaseError
        disk.fault = None
        assert await after_a_crash(path) == set()


async def _transact(storage: SqliteStorage, id: str) -> None:
    async with storage.transaction():
        await storage.store_task(a_task(id))
        assert await storage.get_task(id) is not None


CALLS: dict[str, Callable[[SqliteStorage, str], Awaitable[object]]] = {
    "store_task": lambda storage, id: storage.store_task(a_task(id)),
    "store_tasks": lambda storage, id: storage.store_tasks([a_task(id), a_task(f"{id} too")]),
    "claim_next_task": lambda storage, id: storage.claim_next_task(id),
    "transaction": _transact,
    "get_task": lambda storage, id: storage.get_task("first"),
    "list_agents": lambda storage, id: storage.list_agents(),
    "checkpoint": lambda storage, id: storage.checkpoint(),
    "vacuum": lambda storage, id: storage.vacuum(),
}


FAULTS = {
    "xRead": apsw.SQLITE_IOERR_READ,
    "xWrite": apsw.SQLITE_IOERR_WRITE,
    "xSync": apsw.SQLITE_IOERR_FSYNC,
    "xTruncate": apsw.SQLITE_IOERR_TRUNCATE,
    "xFileSize": apsw.SQLITE_IOERR_FSTAT,
    "xLock": apsw.SQLITE_IOERR_LOCK,
    "xOpen": apsw.SQLITE_CANTOPEN,
}


ERRORS = (DatabaseError, OutcomeUnknownError, PoolError, TransactionError)


class TestPassingFault:
    @pytest.mark.parametrize("method", FAULTS)
    @pytest.mark.parametrize("verb", CALLS)
    async def test_the_storage_works_once_it_is_over(
        self, storage: SqliteStorage, disk: FaultyDisk, path: Path, verb: str, method: str
    ) -> None:
        await storage.store_task(a_task("first"))
        acknowledged = {"first"}
        for number in range(1, 12):
            calls = 0

            def fault(called: str, _path: str, number: int = number) -> int | None:
                nonlocal calls
                calls += called == method
                return FAULTS[method] if called == method and calls == number else None

            disk.fault = fault
            id = f"{verb}-{number}"
            try:
                await CALLS[verb](storage, id)
            except StorageError:
                pass
            else:
                acknowledged |= {id} if verb in ("store_task", "store_tasks", "transaction") else set()
            disk.fault = None

            await storage.store_task(a_task(f"after {id}"))
            assert await storage.get_task(f"after {id}") is not None
            acknowledged.add(f"after {id}")

        assert acknowledged <= await after_a_crash(path)

    @pytest.mark.parametrize("method", FAULTS)
    async def test_calls_at_once_are_all_answered(self, storage: SqliteStorage, disk: FaultyDisk, method: str) -> None:
        await storage.store_task(a_task("first"))
        disk.fault = failing(method, FAULTS[method], times=50)

        outcomes = await asyncio.gather(
            *(call(storage, f"{verb}-{number}") for number in range(20) for verb, call in CALLS.items()),
            return_exceptions=True,
        )

        assert {type(each) for each in outcomes if isinstance(each, BaseException)} <= set(ERRORS)
        disk.fault = None
        await storage.store_task(a_task("afterwards"))

    async def test_a_watcher_goes_on(self, storage: SqliteStorage, disk: FaultyDisk, path: Path) -> None:
        has_failed = threading.Event()
        watched = storage.watch_tasks()
        async with await SqliteStorage.open(path) as other:
            await other.store_task(a_task("first"))
            assert (await anext(watched)).id == "first"

            def fault(method: str, _path: str) -> int | None:
                is_writer = threading.current_thread().name == "swarm-persistence writer"
                if method != "xRead" or not is_writer or has_failed.is_set():
                    return None
                has_failed.set()
                return apsw.SQLITE_IOERR_READ

            waiting = asyncio.ensure_future(anext(watched))
            disk.fault = fault
            await other.store_task(a_task("last"))
            assert (await waiting).id == "last"
            assert await asyncio.to_thread(has_failed.wait, 20)

            waiting = asyncio.ensure_future(anext(watched))
            await other.store_task(a_task("after the fault"))
            assert (await waiting).id == "after the fault"
        await watched.aclose()
