"""Facts about snapshots, and about the backups that are made from them."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from swarm_persistence import (
    ClosedError,
    EventModel,
    MemoryStorage,
    MessageModel,
    OtherError,
    Storage,
    TaskModel,
    TransactionError,
    init_storage,
)
from swarm_persistence.engines.reads import Aggregate, AggregateFunction, Count, Get, Page, Select, Values
from swarm_persistence.query.query import Condition, Query
from swarm_persistence.schema.tables import EVENTS, TASKS
from swarm_persistence_conformance.records import a_message, a_task, an_event, complete_records, everything_in, ids


@asynccontextmanager
async def restored(backup: Path) -> AsyncIterator[Storage]:
    """Open the content of a backup: a database file is restored to a file, JSON lines to memory."""
    from swarm_persistence.transfer.restoring import restore

    storage: Storage = MemoryStorage()
    try:
        await restore(backup, storage)
    except OtherError:
        await storage.close()
        await restore(backup, f"{backup}.restored")
        storage = await init_storage(f"{backup}.restored")
    async with storage:
        yield storage


@pytest.mark.asyncio
class TestSnapshots:
    """A snapshot shows nothing that was committed after it was taken."""

    async def test_a_snapshot_shows_what_was_committed_when_it_was_taken(self, storage: Storage) -> None:
        await storage.store_tasks([a_task("a"), a_task("b", task_type="other")])
        x, y, z = [await storage.store_event(an_event(id)) for id in "xyz"]
        await storage.repository(EventModel).delete("z")
        snapshot = await storage.engine.snapshot()

        # In a browser, these wait until the snapshot is closed.
        later = [
            asyncio.create_task(change)
            for change in (
                storage.store_task(a_task("c")),
                storage.repository(TaskModel).delete("b"),
                storage.append_events([an_event("w")]),
            )
        ]
        await asyncio.sleep(0)

        assert ids(await snapshot.read(Select(Query(TASKS)))) == ["a", "b"]
        assert await snapshot.read(Get(TASKS, "b")) is not None
        assert await snapshot.read(Get(TASKS, "c")) is None
        assert await snapshot.read(Count(Query(TASKS, (Condition("task_type", "=", "other"),)))) == 1
        assert await snapshot.read(Values(Query(EVENTS), ("id", "sequence"))) == [("x", x.sequence), ("y", y.sequence)]
        page, last = await snapshot.read(Page(Query(EVENTS, limit=1)))
        assert (ids(page), last) == (["x"], x.sequence)
        assert await snapshot.read(Aggregate(Query(EVENTS), (), (AggregateFunction("count"),))) == [(2,)]
        assert (await snapshot.numbers())["events"] >= (z.sequence or 0)
        await snapshot.close()
        await asyncio.gather(*later)
        assert ids(await storage.repository(TaskModel).find_all()) == ["a", "c"]

    async def test_a_snapshot_shows_nothing_of_an_open_transaction(self, storage: Storage) -> None:
        await storage.store_task(a_task("a"))
        snapshot = await storage.engine.snapshot()
        taken: asyncio.Task[None]

        async def write() -> None:
            async with storage.transaction():
                await storage.store_task(a_task("b"))
                assert len(ids(await storage.repository(TaskModel).find_all())) == 2

        taken = asyncio.create_task(write())
        await asyncio.sleep(0)
        assert ids(await snapshot.read(Select(Query(TASKS)))) == ["a"]
        await snapshot.close()
        await taken

    async def test_a_snapshot_that_is_closed_is_read_no_more(self, storage: Storage) -> None:
        snapshot = await storage.engine.snapshot()
        await snapshot.close()
        await snapshot.close()

        with pytest.raises((ClosedError, TransactionError)):
            await snapshot.read(Count(Query(TASKS)))
        await storage.store_task(a_task())


@pytest.mark.asyncio
class TestBackups:
    """A backup holds one moment of the database, and is complete."""

    async def test_everything_comes_back_from_a_backup(self, storage: Storage) -> None:
        await storage.store_many(complete_records())
        await storage.store_tasks([a_task("waits", dependencies=["first"]), a_task("first")])
        with TemporaryDirectory() as directory:
            await storage.backup(Path(directory) / "backup", verify=True)
            assert os.listdir(directory) == ["backup"]
            async with restored(Path(directory) / "backup") as other:
                assert await everything_in(other) == await everything_in(storage)
                for verb in ("get_ready_tasks", "get_blocked_tasks"):
                    assert ids(await getattr(other, verb)()) == ids(await getattr(storage, verb)())

    async def test_places_of_events_and_messages_go_on_behind_those_of_the_backup(self, storage: Storage) -> None:
        events = [an_event(id) for id in "abc"]
        messages = [a_message(id) for id in "abc"]
        await storage.append_events(events)
        await storage.store_many(messages)
        for model in (EventModel, MessageModel):
            await storage.repository(model).delete("c")
            await storage.repository(model).delete("a")
        last = events[-1].sequence or 0
        with TemporaryDirectory() as directory:
            await storage.backup(Path(directory) / "backup")
            async with restored(Path(directory) / "backup") as other:
                assert [(event.id, event.sequence) for event in await other.read_events()] == [("b", last - 1)]
                message = a_message("d")
                await other.store_message(message)
                assert message.sequence == (messages[-1].sequence or 0) + 1
                assert await other.append_events([an_event("d")], expected_sequence=last) == last + 1

    async def test_a_task_whose_completed_dependency_is_gone_is_still_ready(self, storage: Storage) -> None:
        await storage.store_tasks([a_task("first"), a_task("then", dependencies=["first"])])
        first = await storage.claim_next_task("agent")
        assert first is not None
        await storage.complete_task(first)
        await storage.repository(TaskModel).delete("first")
        with TemporaryDirectory() as directory:
            await storage.backup(Path(directory) / "backup")
            async with restored(Path(directory) / "backup") as other:
                assert ids(await other.get_ready_tasks()) == ["then"]

    async def test_a_backup_beside_writers_holds_one_moment(self, storage: Storage) -> None:
        begun = asyncio.Event()

        async def write() -> None:
            for number in range(10**6):
                await storage.store_many([an_event(str(number)), a_message(str(number))])
                if number == 10:
                    begun.set()
                await asyncio.sleep(0)

        writing = asyncio.create_task(write())
        await begun.wait()
        with TemporaryDirectory() as directory:
            await storage.backup(Path(directory) / "backup")
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
            async with restored(Path(directory) / "backup") as other:
                events = ids(await other.repository(EventModel).find_all())
                assert len(events) > 10
                assert ids(await other.repository(MessageModel).find_all()) == events

    async def test_a_file_is_overwritten_only_on_demand(self, storage: Storage) -> None:
        with TemporaryDirectory() as directory:
            path = Path(directory) / "backup"
            await storage.backup(path)
            before = path.read_bytes()
            await storage.store_task(a_task())

            with pytest.raises(OtherError):
                await storage.backup(path)
            assert path.read_bytes() == before

            await storage.backup(path, overwrite=True)
            async with restored(path) as other:
                assert ids(await other.get_pending_tasks()) == ["task-1"]

    async def test_a_backup_whose_progress_raises_leaves_no_file(self, storage: Storage) -> None:
        await storage.store_many(complete_records())

        def progress(done: int, total: int) -> None:
            assert 0 < done <= total
            raise ZeroDivisionError

        with TemporaryDirectory() as directory:
            with pytest.raises(ZeroDivisionError):
                await storage.backup(Path(directory) / "backup", progress=progress)
            assert os.listdir(directory) == []

    async def test_a_backup_within_a_transaction_is_refused(self, storage: Storage) -> None:
        with TemporaryDirectory() as directory:
            async with storage.transaction():
                with pytest.raises(TransactionError):
                    await storage.backup(Path(directory) / "backup")
            assert os.listdir(directory) == []
