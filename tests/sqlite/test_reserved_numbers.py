"""Facts about numbers with `durability="normal"`: after a power cut, none is given out that a reader has seen."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from sqlite.faulty_disk import FaultyDisk, faulty_disk
from sqlite.programs import run_program
from swarm_persistence import EventModel, MessageModel, SqliteStorage, TaskModel
from swarm_persistence.engines.following import BEFORE_ALL
from swarm_persistence.engines.sql.sqlite.engine import SqliteEngine
from swarm_persistence.engines.sql.sqlite.settings import SqliteSettings
from swarm_persistence.query.query import Query
from swarm_persistence.schema.tables import TASKS


@pytest.fixture
def disk() -> Iterator[FaultyDisk]:
    """Give a disk that notes its calls."""
    with faulty_disk() as disk:
        yield disk


def log_of(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


class SyncedLog:
    """Knows how much of a log has reached the disk for certain: what the last sync found."""

    def __init__(self, path: Path, disk: FaultyDisk) -> None:
        self._path = path
        self.size = 0
        disk.fault = self._note

    def _note(self, method: str, name: str) -> None:
        if method == "xSync" and name.endswith("-wal"):
            self.size = log_of(self._path).stat().st_size

    def after_a_power_cut(self) -> Path:
        """Return the path of a copy as the next start of the machine may find the file."""
        copy = self._path.with_name(f"after-{self._path.name}")
        # In processes of their own: to close the file here would drop this process's locks on it.
        subprocess.run(("cp", self._path, copy), check=True)
        subprocess.run(("cp", log_of(self._path), log_of(copy)), check=True)
        with log_of(copy).open("r+b") as log:
            log.truncate(self.size)
        connection = apsw.Connection(str(copy))
        connection.execute("UPDATE reserved_numbers SET boot = 'the start before'").fetchall()
        connection.close()
        return copy


async def open_on(disk: FaultyDisk, path: Path) -> SqliteStorage:
    engine = SqliteEngine(path, SqliteSettings(durability="normal", vfs=disk.name))
    engine.start()
    return SqliteStorage(engine)


class TestAPowerCut:
    async def test_no_number_of_an_event_comes_again(self, path: Path, disk: FaultyDisk) -> None:
        log = SyncedLog(path, disk)
        async with await open_on(disk, path) as storage:
            seen = [(await storage.store_event(EventModel.new("before", n))).sequence or 0 for n in range(30)]
            copy = log.after_a_power_cut()

        async with await SqliteStorage.open(copy, durability="normal") as storage:
            assert len(await storage.read_events()) < 30  # which is what `normal` may cost
            new = await storage.store_event(EventModel.new("after", 1))
            async for event in storage.watch_events(after=max(seen)):
                assert event == new
                break

    async def test_no_number_of_a_message_comes_again(self, path: Path, disk: FaultyDisk) -> None:
        log = SyncedLog(path, disk)
        async with await open_on(disk, path) as storage:
            seen = [MessageModel.new("a", "b", "before", n) for n in range(30)]
            for message in seen:
                await storage.store_message(message)
            copy = log.after_a_power_cut()

        async with await SqliteStorage.open(copy) as storage:
            new = MessageModel.new("a", "b", "after", 1)
            await storage.store_message(new)
            assert (new.sequence or 0) > max(message.sequence or 0 for message in seen)

    async def test_no_change_of_a_task_lies_before_a_watchers_place(self, path: Path, disk: FaultyDisk) -> None:
        log = SyncedLog(path, disk)
        async with await open_on(disk, path) as storage:
            for number in range(30):
                await storage.store_task(TaskModel.new("before", number))
            place = (await storage._engine.follow(Query(TASKS), BEFORE_ALL, 1000)).position
            copy = log.after_a_power_cut()

        async with await SqliteStorage.open(copy) as storage:
            new = await storage.store_task(TaskModel.new("after", 1))
            found = (await storage._engine.follow(Query(TASKS), place, 10)).rows
            assert [row[0] for row in found] == [new.id]

    async def test_a_second_one_takes_none_back(self, path: Path, disk: FaultyDisk) -> None:
        log = SyncedLog(path, disk)
        async with await open_on(disk, path) as storage:
            await storage.store_event(EventModel.new("before", 1))
            first = log.after_a_power_cut()
        log = SyncedLog(first, disk)
        async with await open_on(disk, first) as storage:
            seen = await storage.append_events([EventModel.new("between", 1)])
            second = log.after_a_power_cut()

        async with await SqliteStorage.open(second) as storage:
            assert await storage.append_events([EventModel.new("after", 1)]) > seen


class TestOrdinaryLife:
    async def test_closing_and_opening_leaves_no_gap(self, path: Path) -> None:
        for number in range(1, 4):
            async with await SqliteStorage.open(path, durability="normal") as storage:
                assert await storage.append_events([EventModel.new("stored", number)]) == number

    async def test_a_killed_process_leaves_no_gap(self, path: Path) -> None:
        program = """
            import asyncio, os, signal, sys
            from swarm_persistence import EventModel, SqliteStorage

            async def main():
                storage = await SqliteStorage.open(sys.argv[1], durability="normal")
                print(await storage.append_events([EventModel.new("stored", 1)]), flush=True)
                os._exit(0)

            asyncio.run(main())
            """
        assert [run_program(program, path), run_program(program, path)] == [["1"], ["2"]]

    async def test_another_block_is_reserved_before_one_is_used_up(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("swarm_persistence.engines.sql.sqlite.reserved_numbers.BLOCK", 40_000)
        async with await SqliteStorage.open(path, durability="normal") as storage:
            for _ in range(5):
                await storage.store_many(EventModel.new("stored", n) for n in range(12_000))
                await storage.store_event(EventModel.new("stored", 0))
                assert reserved(path, "events") > await storage.append_events([EventModel.new("stored", 1)])

    async def test_durability_full_reserves_nothing(self, path: Path) -> None:
        async with await SqliteStorage.open(path) as storage:
            await storage.store_event(EventModel.new("stored", 1))

        assert reserved(path, "events") == 0


def reserved(path: Path, name: str) -> int:
    connection = apsw.Connection(str(path))
    try:
        found = connection.execute("SELECT max(number) FROM reserved_numbers WHERE name = ?", (name,)).get
    finally:
        connection.close()
    return int(found or 0)
