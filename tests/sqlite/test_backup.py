"""A backup holds one moment, is checked, and gets its name only when it is whole."""

import asyncio
import itertools
import os
import stat
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from sqlite.faulty_disk import faulty_disk
from sqlite.programs import Program
from swarm_persistence import (
    DatabaseError,
    EventModel,
    MessageModel,
    OtherError,
    SerializationError,
    SqliteStorage,
    TransactionError,
)
from swarm_persistence.engines.sql.sqlite.settings import SqliteSettings
from swarm_persistence_conformance.records import an_agent, an_event, complete_records

WRITE = """
    import asyncio, sys
    from swarm_persistence import EventModel, MessageModel, SqliteStorage

    async def write(storage, name):
        for number in range(10**6):
            event = EventModel.new("pair", {"name": name, "number": number})
            message = MessageModel.new(name, "all", "pair", number)
            await storage.store_many([event, message])
            if number == 20:
                print("ready", flush=True)

    async def main(path, name):
        async with await SqliteStorage.open(path) as storage:
            writing = asyncio.create_task(write(storage, name))
            await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
            writing.cancel()

    asyncio.run(main(*sys.argv[1:]))
"""

BACK_UP = """
    import asyncio, sys
    from swarm_persistence import SqliteStorage

    async def main(path, target):
        async with await SqliteStorage.open(path) as storage:
            await storage.backup(target, progress=lambda done, total: print(done, flush=True))
        print("done", flush=True)

    asyncio.run(main(*sys.argv[1:]))
"""


async def fill(storage: SqliteStorage, megabytes: int) -> None:
    """Store events of so many megabytes."""
    for _ in range(megabytes):
        await storage.store_many(EventModel.new("filler", "x" * 10_000) for _ in range(100))


def files_of(path: Path) -> list[str]:
    """Return the names of all files in a path's directory but those of the database there."""
    return sorted(name for name in os.listdir(path.parent) if not name.startswith("swarm.db"))


def change_in_file(path: Path, change: Callable[[bytes], bytes]) -> None:
    """Change what a file that is not open holds."""
    path.write_bytes(change(path.read_bytes()))


class TestOneMoment:
    async def test_a_backup_beside_three_writing_processes_holds_one_moment(self, path: Path, tmp_path: Path) -> None:
        target = tmp_path / "copy.db"
        async with await SqliteStorage.open(path) as storage:
            await fill(storage, 10)
            writers = [Program(WRITE, path, name) for name in "abc"]
            assert [writer.wait_for_line() for writer in writers] == ["ready"] * 3

            await storage.backup(target, verify=True)

            for writer in writers:
                writer.tell("stop")
            for writer in writers:
                writer.finish()
            written = await storage.repository(EventModel).count()
        async with await SqliteStorage.open(target) as copy:
            events = [event.data for event in await copy.read_events(0, 10**6) if event.event_type == "pair"]
            messages = await copy.repository(MessageModel).find_all()
            copied = await copy.repository(EventModel).count()
        for name in "abc":
            numbers = [event["number"] for event in events if event["name"] == name]
            assert numbers == list(range(len(numbers)))
            assert len(numbers) > 20
            assert [message.content for message in messages if message.from_agent == name] == numbers
        assert copied < written

    async def test_a_backup_leaves_out_what_is_stored_while_it_runs(self, path: Path, tmp_path: Path) -> None:
        target = tmp_path / "copy.db"
        async with await SqliteStorage.open(path) as storage:
            await fill(storage, 10)
            before = await storage.repository(EventModel).count()
            later = []

            def progress(done: int, total: int) -> None:
                later.append(asyncio.ensure_future(storage.store_event(an_event(f"later-{done}"))))

            await storage.backup(target, progress=progress)
            await asyncio.gather(*later)

        assert len(later) > 2
        async with await SqliteStorage.open(target) as copy:
            assert await copy.repository(EventModel).count() == before

    async def test_progress_counts_bytes_up_to_the_size_of_the_file(self, path: Path, tmp_path: Path) -> None:
        target = tmp_path / "copy.db"
        seen: list[tuple[int, int]] = []
        async with await SqliteStorage.open(path) as storage:
            await fill(storage, 10)
            await storage.backup(target, progress=lambda done, total: seen.append((done, total)))

        size = target.stat().st_size
        assert {total for _, total in seen} == {size}
        done = [each for each, _ in seen]
        assert len(done) > 2
        assert done == sorted(done)
        assert done[-1] == size

    async def test_it_is_refused_within_a_transaction(self, storage: SqliteStorage, tmp_path: Path) -> None:
        async with storage.transaction():
            with pytest.raises(TransactionError, match="backup"):
                await storage.backup(tmp_path / "copy.db")


class TestFiles:
    async def test_the_copy_keeps_all_records_and_numbers(self, path: Path, tmp_path: Path) -> None:
        target = tmp_path / "copy.db"
        async with await SqliteStorage.open(path) as storage:
            await storage.store_many(complete_records())
            last = await storage.append_events([an_event(id) for id in "abc"])
            await storage.repository(EventModel).delete("c")
            await storage.backup(target, verify=True)
            originals = await storage.read_events()

        assert stat.S_IMODE(target.stat().st_mode) == 0o600
        assert files_of(path) == ["copy.db"]
        async with await SqliteStorage.open(target) as copy:
            assert await copy.read_events() == originals
            assert await copy.append_events([an_event("d")]) == last + 1

    async def test_the_copy_has_our_mark_and_keeps_a_log(self, path: Path, tmp_path: Path) -> None:
        target = tmp_path / "copy.db"
        async with await SqliteStorage.open(path) as storage:
            await storage.backup(target)

        original, copy = apsw.Connection(str(path)), apsw.Connection(str(target))
        for pragma in ("application_id", "user_version", "journal_mode", "page_size", "auto_vacuum"):
            assert copy.execute(f"PRAGMA {pragma}").get == original.execute(f"PRAGMA {pragma}").get
        schema = "SELECT type, name, sql FROM sqlite_schema ORDER BY name"
        assert copy.execute(schema).fetchall() == original.execute(schema).fetchall()
        original.close()
        copy.close()

    async def test_an_existing_file_is_overwritten_only_on_demand(self, storage: SqliteStorage, tmp_path: Path) -> None:
        target = tmp_path / "copy.db"
        target.write_text("my notes")

        with pytest.raises(OtherError, match="exists already"):
            await storage.backup(target)
        assert target.read_text() == "my notes"

        await storage.backup(target, overwrite=True)
        await storage.store_event(an_event("later"))
        await storage.backup(target, overwrite=True, verify=True)
        async with await SqliteStorage.open(target) as copy:
            assert len(await copy.read_events()) == 1

    async def test_an_open_database_is_never_overwritten(
        self, storage: SqliteStorage, path: Path, tmp_path: Path
    ) -> None:
        other = tmp_path / "other.db"
        async with await SqliteStorage.open(other) as opened:
            with pytest.raises(DatabaseError, match="is open"):
                await storage.backup(other, overwrite=True)
            with pytest.raises(OtherError, match="both"):
                await storage.backup(path, overwrite=True)
            await opened.store_event(an_event("a"))
        await storage.store_event(an_event("a"))

    async def test_a_log_of_another_database_beside_the_target_is_not_taken_along(
        self, storage: SqliteStorage, tmp_path: Path
    ) -> None:
        target, log = tmp_path / "copy.db", tmp_path / "copy.db-wal"
        log.write_bytes(b"of another database")

        with pytest.raises(OtherError, match=r"copy\.db-wal"):
            await storage.backup(target)
        assert files_of(target) == ["copy.db-wal"]

    @pytest.mark.parametrize("name", ["", "a\0b", "missing/copy.db", ".", b"copy.db", "x" * 300, None, 7, {}])
    async def test_a_path_that_cannot_be_written_is_named(
        self, storage: SqliteStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        monkeypatch.chdir(tmp_path)
        with pytest.raises((OtherError, DatabaseError, SerializationError)):
            await storage.backup(name)
        assert files_of(tmp_path / "swarm.db") == []

    async def test_partial_files_of_killed_backups_are_removed_by_a_later_one(
        self, storage: SqliteStorage, tmp_path: Path
    ) -> None:
        old, new = tmp_path / "copy.db.01234567.partial", tmp_path / "copy.db.89abcdef.partial"
        for partial in (old, new):
            partial.write_text("half")
        os.utime(old, (0, 0))

        await storage.backup(tmp_path / "copy.db")

        assert files_of(old) == ["copy.db", new.name]


class TestEnds:
    async def test_a_cancelled_backup_leaves_nothing(self, path: Path, tmp_path: Path) -> None:
        async with await SqliteStorage.open(path) as storage:
            await fill(storage, 10)
            backup: asyncio.Task[None]

            def progress(done: int, total: int) -> None:
                backup.cancel()

            backup = asyncio.create_task(storage.backup(tmp_path / "copy.db", progress=progress))
            with pytest.raises(asyncio.CancelledError):
                await backup

            assert files_of(path) == []
            await storage.backup(tmp_path / "copy.db")

    async def test_an_error_of_progress_ends_the_backup_and_leaves_nothing(
        self, storage: SqliteStorage, path: Path, tmp_path: Path
    ) -> None:
        def progress(done: int, total: int) -> None:
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await storage.backup(tmp_path / "copy.db", progress=progress)
        assert files_of(path) == []

    async def test_a_full_disk_is_named_and_leaves_nothing(self, path: Path, tmp_path: Path) -> None:
        target = tmp_path / "copy.db"

        def fault(method: str, name: str) -> int | None:
            return apsw.SQLITE_FULL if method == "xWrite" and name.startswith(str(target)) else None

        with faulty_disk() as disk:
            async with await SqliteStorage._open(path, SqliteSettings(vfs=disk.name)) as storage:
                await fill(storage, 1)
                disk.fault = fault
                with pytest.raises(DatabaseError, match=r"copy\.db.*disk is full"):
                    await storage.backup(target)

                assert files_of(path) == []
                await storage.store_event(an_event("later"))

    async def test_a_killed_backup_leaves_no_half_file_under_its_name(self, path: Path, tmp_path: Path) -> None:
        async with await SqliteStorage.open(path) as storage:
            await fill(storage, 12)
        outcomes = set()
        for step in itertools.count(1):
            target = tmp_path / f"copy-{step}.db"
            program = Program(BACK_UP, path, target)
            lines = [program.wait_for_line() for _ in range(step)]
            if lines[-1] == "done":
                program.finish()
            else:
                program.kill()
            outcomes.add(target.exists())
            if target.exists():
                async with await SqliteStorage.open(target) as copy:
                    assert await copy.repository(EventModel).count() == 1200
            if lines[-1] == "done":
                break

        assert step > 3
        assert outcomes == {False, True}


class TestTampering:
    @pytest.mark.parametrize("when", ["before", "meanwhile"])
    async def test_a_file_that_was_replaced_is_not_backed_up(self, path: Path, tmp_path: Path, when: str) -> None:
        other, moved = tmp_path / "other.db", path.with_name("swarm.db.moved")
        async with await SqliteStorage.open(other) as storage:
            await storage.store_event(an_event("theirs"))
        async with await SqliteStorage.open(path) as storage:
            await fill(storage, 10)

            def replace(*_: object) -> None:
                if not os.path.exists(moved):
                    os.rename(path, moved)
                    os.rename(other, path)

            if when == "before":
                replace()
            with pytest.raises(DatabaseError, match="replaced"):
                await storage.backup(tmp_path / "copy.db", progress=replace)
            assert files_of(path) == []
            os.replace(moved, path)


class TestChecks:
    @pytest.mark.parametrize("is_verified", [False, True])
    async def test_a_damaged_page_fails_the_backup(self, path: Path, tmp_path: Path, is_verified: bool) -> None:
        async with await SqliteStorage.open(path) as storage:
            await fill(storage, 1)
        change_in_file(path, lambda content: content[:400_000] + b"\xff" * 4096 * 4 + content[400_000 + 4096 * 4 :])

        async with await SqliteStorage.open(path) as storage:
            with pytest.raises(DatabaseError, match="is damaged"):
                await storage.backup(tmp_path / "copy.db", verify=is_verified)
        assert files_of(path) == []

    async def test_an_index_that_lacks_a_row_is_found_by_a_verified_backup(self, path: Path, tmp_path: Path) -> None:
        async with await SqliteStorage.open(path) as storage:
            await storage.store_event(an_event("needle-1"))
        # Its last occurrence: in the table or in the index, so that the two no longer agree.
        change_in_file(path, lambda content: b"needle-2".join(content.rsplit(b"needle-1", 1)))

        async with await SqliteStorage.open(path) as storage:
            with pytest.raises(DatabaseError, match="is damaged"):
                await storage.backup(tmp_path / "copy.db", verify=True)
        assert files_of(path) == []

    async def test_a_row_that_cannot_be_read_back_is_named_by_a_verified_backup(
        self, path: Path, tmp_path: Path
    ) -> None:
        async with await SqliteStorage.open(path) as storage:
            await storage.store_agent(an_agent("broken"))
        connection = apsw.Connection(str(path))
        connection.execute("UPDATE agents SET capabilities = '{'").fetchall()
        connection.close()

        async with await SqliteStorage.open(path) as storage:
            with pytest.raises(DatabaseError, match="'broken'"):
                await storage.backup(tmp_path / "copy.db", verify=True)
            assert files_of(path) == []
            await storage.backup(tmp_path / "copy.db")
