"""Facts about paths and files: what is opened, what is refused, and that the refused is left byte for byte."""

# ruff: noqa: ASYNC240 - the files are small, and a test may wait for them

import errno
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import apsw
import pytest

from sqlite.programs import run_program
from swarm_persistence import DatabaseError, MigrationError, PoolError, SqliteStorage, StorageError
from swarm_persistence.engines.sql.sqlite.connection import switch_to_wal
from swarm_persistence.engines.sql.sqlite.schema_version import migrate
from swarm_persistence_conformance.records import an_agent, ids

NEWER = "INSERT INTO swarm_migrations (version, name, applied_at) VALUES (99, 'from the future', 0)"


def bytes_around(path: Path) -> dict[str, bytes]:
    """Return what the directory holds; a `-shm` by name only: it is scratch paper, and readers lock it."""
    return {
        file.name: b"" if file.name.endswith("-shm") else file.read_bytes()
        for file in path.parent.iterdir()
        if file.is_file()
    }


def make_text(path: Path) -> None:
    path.write_text("no database, but the diary of a mouse\n" * 100)


def make_short_text(path: Path) -> None:
    path.write_text("x")


def make_foreign(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE mice (name TEXT)")
        database.execute("INSERT INTO mice VALUES ('Frederick')")
    database.close()


def make_foreign_without_tables(path: Path) -> None:
    database = sqlite3.connect(path)
    database.execute("PRAGMA application_id = 1234")
    database.close()


def make_foreign_with_log_mode(path: Path) -> None:
    database = sqlite3.connect(path)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("CREATE TABLE mice (name TEXT)")
    database.close()
    assert bytes_around(path).keys() == {path.name}


def make_foreign_with_left_log(path: Path) -> None:
    """Leave a log as a crash does: all of the database is in it, and no process uses it."""
    origin = path.with_name("origin")
    database = sqlite3.connect(origin)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("CREATE TABLE mice (name TEXT)")
    database.commit()
    for suffix in ("", "-wal", "-shm"):
        shutil.copy(f"{origin}{suffix}", f"{path}{suffix}")
    database.close()


def make_foreign_with_copied_log(path: Path) -> None:
    """Leave a log as a careless backup does: without the shared memory."""
    make_foreign(path)
    make_foreign_with_left_log(path.with_name("other"))
    database = sqlite3.connect(path)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("INSERT INTO mice VALUES ('Rosalie')")
    database.commit()
    shutil.copy(f"{path}-wal", path.with_name("kept"))
    database.close()
    path.with_name("kept").rename(f"{path}-wal")


def make_text_with_journal(path: Path) -> None:
    """Leave what SQLite would delete, if it were asked: it takes any file of that name for a journal."""
    make_text(path)
    path.with_name(f"{path.name}-journal").write_text("Frederick's journal\n" * 100)


def make_foreign_with_hot_journal(path: Path) -> None:
    """Leave a journal as a crash does in the middle of a write."""
    origin = path.with_name("origin")
    database = sqlite3.connect(origin, isolation_level=None)
    database.execute("CREATE TABLE mice (name TEXT)")
    database.execute("PRAGMA cache_size = 1")
    database.execute("BEGIN")
    database.executemany("INSERT INTO mice VALUES (?)", [("Frederick" * 100,)] * 500)
    for suffix in ("", "-journal"):
        shutil.copy(f"{origin}{suffix}", f"{path}{suffix}")
    database.close()


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_newer(path: Path) -> None:
    database = sqlite3.connect(path)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute(f"PRAGMA application_id = {0x53575250}")
    database.execute("CREATE TABLE swarm_migrations (version INTEGER PRIMARY KEY, name TEXT, applied_at INTEGER)")
    database.execute(NEWER)
    database.commit()
    database.close()
    assert bytes_around(path).keys() == {path.name}


class TestRefused:
    @pytest.mark.parametrize(
        ("make", "error", "reason"),
        [
            (make_text, DatabaseError, "is not an SQLite database"),
            (make_short_text, DatabaseError, "is not an SQLite database"),
            (make_foreign, DatabaseError, "another program's database"),
            (make_foreign_without_tables, DatabaseError, "another program's database"),
            (make_foreign_with_log_mode, DatabaseError, "another program's database"),
            (make_foreign_with_left_log, DatabaseError, "another program's database"),
            (make_foreign_with_copied_log, DatabaseError, "another program's database"),
            (make_foreign_with_hot_journal, DatabaseError, "another program's database"),
            (make_text_with_journal, DatabaseError, "is not an SQLite database"),
            (make_fifo, DatabaseError, "is a device, a pipe or a socket"),
            (make_newer, MigrationError, "schema version 99, and this code knows"),
        ],
    )
    async def test_what_is_not_ours_is_refused_and_left_byte_for_byte(
        self, path: Path, make: Callable[[Path], None], error: type[StorageError], reason: str
    ) -> None:
        make(path)
        before = bytes_around(path)

        with pytest.raises(error, match=f"swarm.db.*{reason}"):
            await SqliteStorage.open(path)

        assert bytes_around(path) == before

    async def test_another_programs_interrupted_write_is_rolled_back_where_only_that_tells_whose_the_file_is(
        self, path: Path
    ) -> None:
        make_foreign_with_hot_journal(path)
        with path.open("r+b") as file:
            file.write(bytes(4096))  # as a torn write of the first page may leave it; the journal has it, too

        with pytest.raises(DatabaseError, match="another program's database"):
            await SqliteStorage.open(path)

        database = sqlite3.connect(path)
        assert database.execute("SELECT count(*) FROM mice").fetchall() == [(0,)]
        database.close()

    async def test_another_programs_database_that_it_is_using_goes_on(self, path: Path) -> None:
        database = sqlite3.connect(path)
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("CREATE TABLE mice (name TEXT)")
        database.commit()
        database.execute("INSERT INTO mice VALUES ('Frederick')")
        before = bytes_around(path)

        with pytest.raises(DatabaseError, match="another program's database"):
            await SqliteStorage.open(path)

        assert bytes_around(path) == before
        database.commit()
        assert database.execute("SELECT name FROM mice").fetchall() == [("Frederick",)]
        database.close()

    async def test_a_newer_file_in_use_is_refused_though_its_version_is_in_the_log(self, path: Path) -> None:
        async with await SqliteStorage.open(path) as storage:
            storage_of_the_future = apsw.Connection(str(path))
            storage_of_the_future.execute(NEWER)
            before = bytes_around(path)

            with pytest.raises(MigrationError, match="schema version 99"):
                await SqliteStorage.open(path)

            assert bytes_around(path) == before
            storage_of_the_future.close()
            assert await storage.list_agents() == []

    async def test_a_directory_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(DatabaseError, match="is a directory"):
            await SqliteStorage.open(tmp_path)

        assert list(tmp_path.iterdir()) == []

    async def test_a_missing_parent_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(DatabaseError, match=r"new/swarm.db.* the directory '.*/new' does not exist"):
            await SqliteStorage.open(tmp_path / "new" / "swarm.db")

    async def test_a_parent_that_is_a_file_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()

        with pytest.raises(DatabaseError, match=r"file/swarm.db"):
            await SqliteStorage.open(tmp_path / "file" / "swarm.db")

    async def test_a_damaged_file_is_named(self, path: Path) -> None:
        await (await SqliteStorage.open(path)).close()
        content = bytearray(path.read_bytes())
        content[100:4096] = os.urandom(3996)
        path.write_bytes(content)

        with pytest.raises(DatabaseError, match=r"swarm.db.*damaged"):
            await SqliteStorage.open(path)

        assert path.read_bytes() == content

    async def test_a_file_that_another_process_has_for_itself_is_a_matter_of_busy_handler(self, path: Path) -> None:
        await (await SqliteStorage.open(path)).close()
        holder = apsw.Connection(str(path))
        holder.execute("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE; COMMIT").fetchall()

        with pytest.raises(PoolError, match="another process"):
            await SqliteStorage.builder().connection_timeout(0.05).build(path)

        holder.close()
        await (await SqliteStorage.open(path)).close()


class TestAccepted:
    async def test_an_empty_file(self, path: Path) -> None:
        path.touch()

        async with await SqliteStorage.open(path) as storage:
            await storage.store_agent(an_agent())

            assert ids(await storage.list_agents()) == ["agent-1"]

    async def test_an_empty_database(self, path: Path) -> None:
        database = sqlite3.connect(path)
        database.execute("VACUUM")
        database.close()

        await (await SqliteStorage.open(path)).close()

    async def test_a_copy_with_its_log_but_without_shared_memory(self, path: Path, tmp_path: Path) -> None:
        async with await SqliteStorage.open(path) as storage:
            await storage.store_agent(an_agent())
            for suffix in ("", "-wal"):
                shutil.copy(f"{path}{suffix}", tmp_path / f"copy.db{suffix}")

        async with await SqliteStorage.open(tmp_path / "copy.db") as copy:
            assert ids(await copy.list_agents()) == ["agent-1"]

    async def test_a_new_file_that_another_process_brings_up_between_two_looks(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        other = apsw.Connection(str(path))
        switch_to_wal(other, 10)
        other.execute("PRAGMA user_version = 0").fetchall()  # makes a log, and nothing in it
        looks: list[str] = []

        def meet(connection: apsw.Connection) -> None:
            connection.set_exec_trace(hear)

        def hear(cursor: apsw.Cursor, statement: str, _values: object) -> bool:
            if "sqlite_schema" in statement and cursor.connection.readonly("main"):
                looks.append(statement)
                if len(looks) == 2:  # the first was without the log
                    migrate(other)
            return True

        monkeypatch.setattr(apsw, "connection_hooks", [meet])
        async with await SqliteStorage.open(path) as storage:
            assert await storage.list_agents() == []
        assert len(looks) == 2
        other.close()

    @pytest.mark.parametrize(
        "name", ["sp ace.db", "per%20cent.db", "quest?ion.db", "ha#sh.db", "file:colon.db", "ü.db"]
    )
    async def test_any_name_names_that_file(self, tmp_path: Path, name: str) -> None:
        for _ in range(2):
            await (await SqliteStorage.open(tmp_path / name)).close()

        assert [file.name for file in tmp_path.iterdir()] == [name]

    async def test_a_new_file_where_a_sandbox_allows_no_mknod(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: object) -> None:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

        monkeypatch.setattr(os, "mknod", refuse)

        await (await SqliteStorage.open(path)).close()

        assert path.stat().st_mode & 0o777 == 0o600

    async def test_a_relative_path_stays_where_it_was_opened(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        async with await SqliteStorage.open("swarm.db") as storage:
            monkeypatch.chdir("/")

            assert await storage.get_storage_size() > 0
            assert storage.path == str(tmp_path / "swarm.db")


class TestPermissions:
    """A process without privileges: root may write everything."""

    PROGRAM = """
        import asyncio, os, sys
        from swarm_persistence import SqliteStorage, DatabaseError

        async def main(path):
            await (await SqliteStorage.open(path)).close()  # loads all that is to be loaded, and makes the file
            os.chmod(path, int(sys.argv[2], 8))
            os.chmod(os.path.dirname(path), int(sys.argv[3], 8))
            if os.geteuid() == 0:
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
            try:
                await (await SqliteStorage.open(path)).close()
            except DatabaseError as error:
                print(error)
            else:
                print("opened")

        asyncio.run(main(sys.argv[1]))
    """

    @pytest.fixture
    def place(self) -> Iterator[Path]:
        place = Path(tempfile.mkdtemp())
        yield place
        place.chmod(0o700)
        shutil.rmtree(place)

    @pytest.mark.parametrize(
        ("mode", "mode_of_directory", "reason"),
        [
            ("444", "755", "cannot be written; check its permissions"),
            ("000", "755", "cannot be read: Permission denied"),
            ("666", "555", "the file or its directory cannot be written"),
        ],
    )
    def test_what_may_not_be_written_is_refused_and_left_as_it_is(
        self, place: Path, mode: str, mode_of_directory: str, reason: str
    ) -> None:
        path = place / "swarm.db"

        (printed,) = run_program(self.PROGRAM, path, mode, mode_of_directory)

        assert printed.startswith(f"Database error: {str(path)!r}")
        assert reason in printed
        assert bytes_around(path).keys() == {"swarm.db"}

    def test_a_directory_that_may_not_be_written_gets_no_new_file(self, place: Path) -> None:
        program = self.PROGRAM.replace("try:", "path += '.new'; \n            try:", 1)

        (printed,) = run_program(program, place / "swarm.db", "666", "555")

        assert printed == f"Database error: '{place}/swarm.db.new' cannot be created: Permission denied"

    def test_the_same_file_opens_once_it_may_be_written(self, place: Path) -> None:
        assert run_program(self.PROGRAM, place / "swarm.db", "666", "777") == ["opened"]
