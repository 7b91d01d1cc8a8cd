"""A restored database is the backup as a whole, or what was there before; nothing is overwritten unasked."""

import asyncio
import os
import stat
from pathlib import Path

import apsw
import pytest

from sqlite.programs import Program
from sqlite.restored_files import WRITE_AND_DIE, ids_in, make
from swarm_persistence import DatabaseError, EventModel, OtherError, SqliteStorage
from swarm_persistence.engines.sql.sqlite.checksums import damaged_pages
from swarm_persistence.engines.sql.sqlite.settings import SqliteSettings
from swarm_persistence.transfer.restoring import restore
from swarm_persistence_conformance.records import an_event, complete_records

READ_AND_WAIT = """
    import sys, apsw
    connection = apsw.Connection(sys.argv[1])
    connection.execute("SELECT count(*) FROM events").fetchall()
    print("ready", flush=True)
    sys.stdin.readline()
    connection.close()
"""


def content_of(path: Path) -> bytes:
    return path.read_bytes()


def put(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def is_there(path: Path) -> bool:
    return path.exists()


class TestNumbers:
    async def test_a_watcher_goes_on_at_its_place(self, backup: Path, path: Path) -> None:
        await restore(backup, path)

        async with await SqliteStorage.open(path) as storage:
            watch = storage.watch_events(after=1)
            assert [(await anext(watch)).sequence for _ in "bc"] == [2, 3]
            # 4 was given to an event that was deleted before the backup.
            assert await storage.append_events([an_event("e")]) == 5
            assert (await anext(watch)).sequence == 5
            await watch.aclose()

    async def test_a_number_that_was_given_out_after_the_backup_is_not_given_out_again(
        self, backup: Path, path: Path
    ) -> None:
        await restore(backup, path)
        async with await SqliteStorage.open(path) as storage:
            last = await storage.append_events([an_event(id) for id in "efg"])

        await restore(backup, path, overwrite=True)

        async with await SqliteStorage.open(path) as storage:
            watch = storage.watch_events(after=last)
            assert await storage.append_events([an_event("h")]) == last + 1
            assert (await anext(watch)).id == "h"
            await watch.aclose()

    async def test_all_records_come_back(self, tmp_path: Path, path: Path) -> None:
        copy, again = tmp_path / "copy.db", tmp_path / "again.db"
        async with await SqliteStorage.open(path) as storage:
            await storage.store_many(complete_records())
            await storage.backup(copy)

        await restore(copy, again)
        for file in (path, again):
            connection = apsw.Connection(str(file))
            connection.execute("PRAGMA journal_mode = DELETE").fetchall()
            connection.close()
        first, second = (apsw.Connection(str(file)) for file in (path, again))
        for (table,) in first.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall():
            rows = f"SELECT * FROM {table}"
            assert first.execute(rows).fetchall() == second.execute(rows).fetchall()
        first.close()
        second.close()


class TestTargets:
    async def test_a_file_is_replaced_only_on_demand(self, backup: Path, path: Path) -> None:
        await make(path, ["mine"])

        with pytest.raises(OtherError, match="exists already"):
            await restore(backup, path)
        assert await ids_in(path) == ["mine"]

        await restore(backup, path, overwrite=True)
        assert await ids_in(path) == ["a", "b", "c"]

    async def test_it_is_refused_while_this_process_has_the_target_open(self, backup: Path, path: Path) -> None:
        async with await SqliteStorage.open(path) as storage:
            for overwrite in (False, True):
                with pytest.raises((DatabaseError, OtherError)):
                    await restore(backup, path, overwrite=overwrite)
            await storage.store_event(an_event("mine"))

        assert await ids_in(path) == ["mine"]

    async def test_it_is_refused_while_another_process_has_only_read_the_target(self, backup: Path, path: Path) -> None:
        await make(path, ["mine"])
        reader = Program(READ_AND_WAIT, path)
        assert reader.wait_for_line() == "ready"

        with pytest.raises(DatabaseError, match="is open"):
            await restore(backup, path, overwrite=True)

        reader.tell("go")
        reader.finish()
        assert await ids_in(path) == ["mine"]
        await restore(backup, path, overwrite=True)
        assert await ids_in(path) == ["a", "b", "c"]

    async def test_the_log_of_a_killed_process_is_not_taken_for_that_of_the_backup(
        self, backup: Path, path: Path
    ) -> None:
        await make(path, ["mine"])
        program = Program(WRITE_AND_DIE, path)
        assert program.wait_for_line() == "ready"
        program.kill()
        assert path.with_name("swarm.db-wal").stat().st_size > 0

        await restore(backup, path, overwrite=True)

        assert sorted(file.name for file in path.parent.glob("swarm.db*")) == ["swarm.db"]
        assert await ids_in(path) == ["a", "b", "c"]

    async def test_a_log_without_its_database_is_removed_only_on_demand(self, backup: Path, path: Path) -> None:
        log = path.with_name("swarm.db-wal")
        log.write_bytes(b"what is left")

        with pytest.raises(OtherError, match=r"swarm\.db-wal"):
            await restore(backup, path)
        assert log.read_bytes() == b"what is left"

        await restore(backup, path, overwrite=True)
        assert not log.exists()
        assert await ids_in(path) == ["a", "b", "c"]

    @pytest.mark.parametrize("content", [b"", b"no database at all", b"SQLite format 3\0" + b"\xff" * 5000])
    async def test_a_file_that_is_no_longer_a_database_is_replaced(
        self, backup: Path, path: Path, content: bytes
    ) -> None:
        put(path, content)
        for suffix in ("-wal", "-shm", "-journal"):
            path.with_name(f"swarm.db{suffix}").write_bytes(b"of another database" * 1000)

        await restore(backup, path, overwrite=True)

        assert sorted(file.name for file in path.parent.glob("swarm.db*")) == ["swarm.db"]
        assert await ids_in(path) == ["a", "b", "c"]

    async def test_another_programs_database_is_left_as_it_is(self, backup: Path, path: Path) -> None:
        connection = apsw.Connection(str(path))
        connection.execute("CREATE TABLE theirs (x)").fetchall()
        connection.close()
        content = content_of(path)

        with pytest.raises(DatabaseError, match="another program's"):
            await restore(backup, path, overwrite=True)
        assert content_of(path) == content

    async def test_a_link_stays_a_link_and_the_file_keeps_its_mode(self, backup: Path, path: Path) -> None:
        await make(path, ["mine"])
        os.chmod(path, 0o640)
        link = path.with_name("link.db")
        link.symlink_to(path)

        await restore(backup, link, overwrite=True)

        assert link.is_symlink()
        assert mode_of(path) == 0o640
        assert await ids_in(path) == ["a", "b", "c"]

    async def test_pages_of_another_size_are_replaced(self, backup: Path, path: Path) -> None:
        await make(path, ["mine"])
        connection = apsw.Connection(str(path))
        for statement in ("journal_mode = DELETE", "page_size = 8192"):
            connection.execute(f"PRAGMA {statement}").fetchall()
        connection.execute("VACUUM").fetchall()
        connection.execute("PRAGMA journal_mode = WAL").fetchall()
        connection.close()

        await restore(backup, path, overwrite=True)
        assert await ids_in(path) == ["a", "b", "c"]

    async def test_a_process_that_waits_to_open_the_target_finds_the_backup(self, backup: Path, path: Path) -> None:
        await make(path, ["mine"])

        async def read() -> list[str]:
            return await ids_in(path)

        readers: list[asyncio.Task[list[str]]] = []

        def progress(done: int, total: int) -> None:
            if not readers:
                readers.append(asyncio.create_task(read()))

        try:
            await restore(backup, path, overwrite=True, progress=progress)
        except DatabaseError:  # the reader came first
            assert await readers[0] == ["mine"]
        else:
            assert await readers[0] in (["mine"], ["a", "b", "c"])
            assert await ids_in(path) == ["a", "b", "c"]


class TestBackups:
    async def test_a_damaged_backup_is_refused_before_anything_is_touched(self, backup: Path, path: Path) -> None:
        await make(path, ["mine"])
        content = content_of(backup)
        put(backup, content[:40_960] + b"\xff" * 4096 + content[45_056:])

        with pytest.raises(DatabaseError, match="is damaged"):
            await restore(backup, path, overwrite=True)
        assert await ids_in(path) == ["mine"]

    async def test_a_file_that_is_not_there_is_named(self, path: Path) -> None:
        with pytest.raises(OtherError, match="no file"):
            await restore(path.with_name("none"), path)
        assert not is_there(path)

    async def test_another_programs_database_is_no_backup(self, path: Path, tmp_path: Path) -> None:
        theirs = tmp_path / "theirs.db"
        connection = apsw.Connection(str(theirs))
        connection.execute("CREATE TABLE theirs (x)").fetchall()
        connection.close()

        with pytest.raises(DatabaseError, match="not a database of this package"):
            await restore(theirs, path)
        assert not is_there(path)

    async def test_a_database_onto_itself_is_refused(self, backup: Path) -> None:
        with pytest.raises(OtherError, match="both"):
            await restore(backup, backup, overwrite=True)

    async def test_a_backup_is_left_as_it_was(self, backup: Path, path: Path) -> None:
        before = content_of(backup), sorted(os.listdir(backup.parent))

        await restore(backup, path)

        assert (content_of(backup), sorted({*os.listdir(backup.parent)} - {path.name})) == before


class TestChecksums:
    @pytest.mark.parametrize("are_in_backup", [False, True])
    @pytest.mark.parametrize("are_in_target", [False, True])
    async def test_a_backup_and_what_is_restored_keep_the_checksums_of_the_original(
        self, tmp_path: Path, path: Path, are_in_backup: bool, are_in_target: bool
    ) -> None:
        original, copy = tmp_path / "original.db", tmp_path / "copy"
        async with await SqliteStorage._open(original, SqliteSettings(checksums=are_in_backup)) as storage:
            # More pages than are kept in memory, and some of them in the log only.
            for _ in range(8):
                await storage.store_many(EventModel.new("filler", "x" * 10_000) for _ in range(100))
            await storage.backup(copy, verify=True)
        async with await SqliteStorage._open(path, SqliteSettings(checksums=are_in_target)) as storage:
            await storage.store_event(an_event("mine"))

        await restore(copy, path, overwrite=True)
        await restore(copy, tmp_path / "new.db")

        expected: list[int] | None = [] if are_in_backup else None
        for file in (copy, path, tmp_path / "new.db"):
            assert damaged_pages(file) == expected
            async with await SqliteStorage.open(file) as storage:
                assert await storage.repository(EventModel).count() == 800
            assert damaged_pages(file) == expected

    async def test_a_page_that_the_disk_has_changed_fails_the_backup(self, tmp_path: Path, path: Path) -> None:
        async with await SqliteStorage._open(path, SqliteSettings(checksums=True)) as storage:
            await storage.store_event(EventModel.new("filler", "needle" * 1000))
        put(path, content_of(path).replace(b"needleneedle", b"noodlenoodle", 1))

        async with await SqliteStorage.open(path) as storage:
            with pytest.raises(DatabaseError, match="checksum"):
                await storage.backup(tmp_path / "copy")
        assert not is_there(tmp_path / "copy")
