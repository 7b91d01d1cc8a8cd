"""Facts about waking over a file: a commit of another storage or process is seen soon, and no event is missed."""

import asyncio
import threading
from collections.abc import Iterable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from polling import until
from sqlite.programs import Program
from swarm_persistence import EventModel, SqliteStorage, TaskModel
from swarm_persistence_conformance.records import a_task, an_event, ids
from swarm_persistence_conformance.waiting import SOON_SECONDS, settle

FOREVER = -1
"""How a lock is told to wait without a timeout."""

WAIT = """
    import asyncio, sys
    from swarm_persistence import SqliteStorage

    async def main(path, count):
        async with await SqliteStorage.open(path) as storage:
            print("ready", flush=True)
            for _ in range(int(count)):
                task = await storage.claim_next_task("waiter", wait=30)
                print(task.id, flush=True)
                await storage.complete_task(task)

    asyncio.run(main(*sys.argv[1:]))
"""

WRITE = """
    import asyncio, sys
    from swarm_persistence import EventModel, SqliteStorage

    async def main(path, name, count):
        async with await SqliteStorage.open(path) as storage:
            print("ready", flush=True)
            sys.stdin.readline()
            for number in range(int(count)):
                event = EventModel(id=f"{name}-{number}", event_type=name)
                if number % 2:
                    await storage.store_event(event)
                    continue
                async with storage.transaction():
                    await storage.store_event(event)
                    await asyncio.sleep(0)

    asyncio.run(main(*sys.argv[1:]))
"""

WATCH = """
    import asyncio, sys
    from swarm_persistence import SqliteStorage

    async def main(path, count):
        async with await SqliteStorage.open(path) as storage:
            print("ready", flush=True)
            left = int(count)
            async for event in storage.watch_events():
                print(event.sequence, event.id)
                left -= 1
                if not left:
                    break

    asyncio.run(main(*sys.argv[1:]))
"""


class TestAnotherProcess:
    async def test_a_commit_wakes_the_waiter_of_another_process(self, storage: SqliteStorage, path: Path) -> None:
        rounds = 15
        program = Program(WAIT, path, rounds)
        assert program.wait_for_line() == "ready"

        for number in range(rounds):
            # It waits already, or is about to: both must work.
            await settle(storage)
            await storage.store_task(a_task(f"task-{number}"))
            assert await asyncio.to_thread(program.wait_for_line) == f"task-{number}"

        assert program.finish() == []

    async def test_watchers_in_three_processes_see_the_whole_log(self, storage: SqliteStorage, path: Path) -> None:
        await storage.store_many([an_event(f"past-{number}") for number in range(10)])
        total = 10 + 3 * 40
        watchers = [Program(WATCH, path, total) for _ in range(3)]
        writers = [Program(WRITE, path, f"writer-{number}", 40) for number in range(3)]
        for program in (*watchers, *writers):
            assert await asyncio.to_thread(program.wait_for_line) == "ready"

        for writer in writers:
            writer.tell("go")
        seen = [await asyncio.to_thread(watcher.finish) for watcher in watchers]

        assert [writer.finish() for writer in writers] == [[]] * 3
        log = [f"{event.sequence} {event.id}" for event in await storage.read_events()]
        assert len(log) == total
        assert seen == [log] * 3


class RecordingLock:
    """Stands before the lock that wakes a writer, and records how long the writer is ready to wait for it."""

    def __init__(self, lock: threading.Lock) -> None:
        self._lock = lock
        self.timeouts: list[float] = []

    def acquire(self, timeout: float = FOREVER) -> bool:
        self.timeouts.append(timeout)
        return self._lock.acquire(timeout=timeout)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._lock, name)


class TestPolling:
    """The promise of 50 ms, without a clock: how long the writer waits between two polls, and which of them wakes."""

    async def test_a_commit_of_another_storage_wakes_with_the_next_poll_and_these_are_frequent(
        self, storage: SqliteStorage, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("swarm_persistence.engines.sql.sqlite.inotify._library", None)
        engine = storage._engine
        wake = RecordingLock(engine._writer._wake)
        monkeypatch.setattr(engine._writer, "_wake", wake)
        rung_after: list[int] = []
        notify = engine._watches.notify

        def notify_and_record(names: Iterable[str] | None = None) -> None:
            rung_after.append(len(wake.timeouts))
            notify(names)

        async with await SqliteStorage.open(path) as other:
            waiting = asyncio.create_task(storage.claim_next_task("waiter", wait=30))
            await settle(storage)
            await until(lambda: len(wake.timeouts) > 3 and FOREVER not in wake.timeouts[-3:])
            periods = wake.timeouts[-3:]
            monkeypatch.setattr(engine._watches, "notify", notify_and_record)

            await other.store_task(a_task())
            polls = len(wake.timeouts)

            assert await waiting is not None
        assert rung_after[0] <= polls + 1
        assert max(periods) <= 0.025

    async def test_the_writer_polls_only_while_a_call_waits(
        self, storage: SqliteStorage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        wake = RecordingLock(storage._engine._writer._wake)
        monkeypatch.setattr(storage._engine._writer, "_wake", wake)

        assert await storage.claim_next_task("waiter", wait=0.05) is None
        await storage.vacuum()
        await until(lambda: wake.timeouts[-1:] == [FOREVER])


class TestAnotherStorage:
    async def test_a_commit_of_another_storage_on_the_file_wakes_a_waiter(
        self, storage: SqliteStorage, path: Path
    ) -> None:
        async with await SqliteStorage.open(path) as other:
            waiting = asyncio.create_task(storage.claim_next_task("waiter", wait=30))
            await settle(storage)

            await other.store_task(a_task())

            async with asyncio.timeout(SOON_SECONDS):
                task = await waiting
        assert isinstance(task, TaskModel)
        assert task.assigned_to == "waiter"

    async def test_a_commit_before_an_own_transaction_is_seen_while_that_is_open(
        self, storage: SqliteStorage, path: Path
    ) -> None:
        written, commit, opened, seen, end = (asyncio.Event() for _ in range(5))

        async def write(other: SqliteStorage) -> None:
            async with other.transaction():
                await other.store_event(an_event())
                written.set()
                await commit.wait()

        async def keep_open() -> None:
            async with storage.transaction():
                opened.set()
                await end.wait()

        async def watch() -> None:
            async with aclosing(storage.watch_events()) as events:
                async for _ in events:
                    seen.set()

        async with await SqliteStorage.open(path) as other, asyncio.timeout(SOON_SECONDS):
            watching = asyncio.create_task(watch())
            await settle(storage)
            writing = asyncio.create_task(write(other))
            await written.wait()
            open_one = asyncio.create_task(keep_open())
            await until(lambda: storage._engine._busy_handler.wait.is_waiting)

            commit.set()

            await opened.wait()
            await seen.wait()
            end.set()
            watching.cancel()
            await asyncio.gather(writing, open_one, watching, return_exceptions=True)

    async def test_a_watcher_sees_what_two_storages_on_the_file_store(self, storage: SqliteStorage, path: Path) -> None:
        seen: list[EventModel] = []
        async with await SqliteStorage.open(path) as other:

            async def write(into: SqliteStorage, name: str) -> None:
                for number in range(30):
                    await into.store_event(an_event(f"{name}-{number}"))

            writing = asyncio.gather(write(storage, "a"), write(other, "b"))
            async with aclosing(storage.watch_events()) as events, asyncio.timeout(30):
                async for event in events:
                    seen.append(event)
                    if len(seen) == 60:
                        break
            await writing

        log = await storage.read_events()
        assert seen == log
        assert sorted(ids(log)) == sorted(f"{name}-{number}" for name in "ab" for number in range(30))
