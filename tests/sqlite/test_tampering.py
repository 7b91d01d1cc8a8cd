"""Facts about files that something else than SQLite deletes, moves, cuts or overwrites while a storage has them open.

What a call has acknowledged is in the file at the path: so nothing is acknowledged any more, and every call says why.
"""

import asyncio
import os
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from sqlite.programs import Program, run_program
from swarm_persistence import DatabaseError, SqliteStorage, StorageError, TaskModel
from swarm_persistence.engines.sql.sqlite import file_identity, inotify, writer_connection
from swarm_persistence.engines.sql.sqlite.file_identity import FileIdentity
from swarm_persistence.engines.sql.sqlite.inotify import Inotify
from swarm_persistence_conformance.records import a_task

# Each is run by another process. The other sound databases: `other`, of more tasks, and `backup`, an older copy.
TAMPERING = {
    "the file is deleted": ("the file was deleted or moved away", "os.unlink(path)"),
    "the log is deleted": ("its log was deleted or moved away", "os.unlink(log)"),
    "the index is deleted": ("the index of its log was deleted or moved away", "os.unlink(index)"),
    "all are deleted": ("the file was deleted or moved away", "for each in (path, log, index): os.unlink(each)"),
    "file and log are deleted": ("the file was deleted or moved away", "os.unlink(log); os.unlink(path)"),
    "the file is moved away": ("the file was deleted or moved away", "os.rename(path, path + '.old')"),
    "all are moved away": (
        "the file was deleted or moved away",
        "for each in (path, log, index): os.rename(each, each + '.old')",
    ),
    "the log is moved away": ("its log was deleted or moved away", "os.rename(log, log + '.old')"),
    "the directory is renamed": ("its directory '.*' was renamed", "os.rename(folder, folder + '.old')"),
    "the directory is deleted": ("its directory '.*' was renamed, moved or deleted", "shutil.rmtree(folder)"),
    "the directory is replaced by a copy": (
        "the file was replaced",
        "os.rename(folder, folder + '.old'); shutil.copytree(folder + '.old', folder)",
    ),
    "the file is moved, and a link to it is left": (
        "a symbolic link was put in the place of the file",
        "os.rename(path, path + '.old'); os.symlink(path + '.old', path)",
    ),
    "the log is moved, and a link to it is left": (
        "a symbolic link was put in the place of its log",
        "os.rename(log, log + '.old'); os.symlink(log + '.old', log)",
    ),
    "another database is renamed over it": ("the file was replaced", "os.rename(other, path)"),
    "a backup is renamed over it": ("the file was replaced", "os.rename(backup, path)"),
    "a new file is made in its place": ("the file was replaced", "os.unlink(path); open(path, 'w').close()"),
    "a copy of its own is put in its place": (
        "the file was replaced",
        "shutil.copy(path, path + '.copy'); os.rename(path + '.copy', path)",
    ),
    "a vacuumed copy is put in its place": (
        "the file was replaced",
        "with closing(sqlite3.connect(path)) as database:\n"
        "    database.execute('VACUUM INTO ?', (path + '.copy',))\n"
        "os.rename(path + '.copy', path)",
    ),
    "the log is replaced by an empty one": ("its log was replaced", "os.unlink(log); open(log, 'w').close()"),
    "the log is replaced by a copy": (
        "its log was replaced",
        "shutil.copy(log, log + '.copy'); os.rename(log + '.copy', log)",
    ),
    "the index is replaced by a copy": (
        "the index of its log was replaced",
        "shutil.copy(index, index + '.copy'); os.rename(index + '.copy', index)",
    ),
    "the file is cut to nothing": ("the file was cut", "os.truncate(path, 0)"),
    "the file is cut in half": ("the file was cut", "os.truncate(path, os.path.getsize(path) // 2)"),
    "the file loses its last pages": ("the file was cut", "os.truncate(path, os.path.getsize(path) - 8 * 4096)"),
    "the log is cut to nothing": ("its log was cut", "os.truncate(log, 0)"),
    "the log is cut in half": ("its log was cut", "os.truncate(log, os.path.getsize(log) // 2)"),
    "the log loses its last frame": ("its log was cut", "os.truncate(log, os.path.getsize(log) - 4120)"),
    "the log is overwritten by another one": ("its log was cut or overwritten", "shutil.copyfile(path, log)"),
    "the log's first bytes are overwritten": (
        "its log was cut or overwritten",
        "file = open(log, 'r+b'); file.write(b'x' * 32); file.close()",
    ),
    "a backup is copied over it": ("the file was (cut|overwritten)", "shutil.copyfile(backup, path)"),
    "another database is copied over it": ("the file was (cut|overwritten)", "shutil.copyfile(other, path)"),
    "a text is copied over it": ("the file was overwritten", "pathlib.Path(path).write_text('mouse' * 100000)"),
}

PROGRAM = """
import os, pathlib, shutil, sqlite3, sys
from contextlib import closing
path, folder, other, backup = sys.argv[1:]
log, index = path + "-wal", path + "-shm"
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Give the path of a file in a directory of its own."""
    (tmp_path / "folder").mkdir()
    return tmp_path / "folder" / "swarm.db"


@pytest_asyncio.fixture
async def other(tmp_path: Path) -> Path:
    """Give the path of another sound database, which is closed."""
    path = tmp_path / "other.db"
    async with await SqliteStorage.open(path) as storage:
        await storage.store_tasks([TaskModel.new("other", number) for number in range(400)])
    return path


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    """Give the path of the older copy."""
    return tmp_path / "backup.db"


@pytest.fixture
def tamper(path: Path, other: Path, backup: Path) -> Callable[[str], None]:
    """Give a function that lets another process do something to the files."""

    def tamper(action: str) -> None:
        run_program(f"{PROGRAM}\n{action}", path, path.parent, other, backup)

    return tamper


@pytest_asyncio.fixture
async def storage(path: Path, backup: Path) -> AsyncIterator[SqliteStorage]:
    """Give a storage with tasks in the file, and some in the log."""
    async with await SqliteStorage.open(path) as storage:
        await storage.store_tasks([TaskModel.new("old", number) for number in range(100)])
        await storage.checkpoint()
        # In another process: closing it here would drop this process's locks.
        run_program("import shutil, sys; shutil.copyfile(*sys.argv[1:])", path, backup)
        await storage.store_tasks([TaskModel.new("new", number) for number in range(100)])
        await storage.checkpoint()
        for number in range(10):
            await storage.store_task(a_task(f"task-{number}"))
        assert await storage.get_task("task-1") is not None
        yield storage


def content_of(path: Path) -> bytes:
    """Return what a file holds."""
    return path.read_bytes()


async def outcome(storage: SqliteStorage, verb: str) -> StorageError | None:
    """Return the error of a call."""
    calls = {
        "store_task": lambda: storage.store_task(TaskModel.new("late", 0)),
        "claim_next_task": lambda: storage.claim_next_task("agent-1"),
        "store_tasks": lambda: storage.store_tasks([TaskModel.new("late", number) for number in range(20)]),
        "transaction": lambda: _transact(storage),
        "checkpoint": storage.checkpoint,
        "vacuum": storage.vacuum,
        "get_task": lambda: storage.get_task("task-1"),
        "list_agents": storage.list_agents,
    }
    try:
        await calls[verb]()
    except StorageError as error:
        return error
    return None


async def _transact(storage: SqliteStorage) -> None:
    async with storage.transaction():
        await storage.store_task(TaskModel.new("late", 0))


async def rely_on_reports(storage: SqliteStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let all commits from now on rely on what the system reports, however long ago the files were verified."""
    monkeypatch.setattr(storage._engine._writer.commits, "_quick_commits", 0)
    monkeypatch.setattr(writer_connection, "_QUICK_COMMITS_BEFORE_REPORTS", 1)
    monkeypatch.setattr(writer_connection, "_LONGEST_TRUST_SECONDS", float("inf"))
    monkeypatch.setattr(file_identity, "_LONGEST_TRUST_OF_READS_SECONDS", float("inf"))
    for number in range(3):
        await storage.store_task(a_task(f"before-{number}"))


def count_verifications(monkeypatch: pytest.MonkeyPatch) -> list[FileIdentity]:
    """Return a list that grows by each verification of the paths."""
    verified: list[FileIdentity] = []
    verify = FileIdentity.verify_paths

    def noted(identity: FileIdentity, *, trusts_index: bool = True) -> int | None:
        verified.append(identity)
        return verify(identity, trusts_index=trusts_index)

    monkeypatch.setattr(FileIdentity, "verify_paths", noted)
    return verified


def raises_permission_error(*_: object, **__: object) -> None:
    """Fail as a system call that this user may not make."""
    raise PermissionError


ELSEWHERE = [event for event, (finding, _) in TAMPERING.items() if "cut" not in finding and "over" not in finding]
"""What makes a path lead elsewhere. Of a file that is cut, a reader may still have the pages that it needs."""

BACK = {
    "the file is moved away": "os.rename(path + '.old', path)",
    "the file is moved, and a link to it is left": "os.rename(path + '.old', path)",
    "all are moved away": "for each in (path, log, index): os.rename(each + '.old', each)",
    "the directory is renamed": "os.rename(folder + '.old', folder)",
}

VERBS = [
    "store_task",
    "claim_next_task",
    "store_tasks",
    "transaction",
    "checkpoint",
    "vacuum",
    "get_task",
    "list_agents",
]


class TestTampering:
    @pytest.mark.parametrize("first", ["store_task", "transaction", "claim_next_task"])
    @pytest.mark.parametrize("event", TAMPERING)
    async def test_nothing_is_acknowledged_afterwards(
        self, storage: SqliteStorage, tamper: Callable[[str], None], event: str, first: str
    ) -> None:
        finding, action = TAMPERING[event]

        tamper(action)

        for verb in (first, *VERBS):
            error = await outcome(storage, verb)
            assert isinstance(error, DatabaseError), f"{verb} was acknowledged"
            assert re.search(finding, str(error)), verb

    @pytest.mark.parametrize("event", TAMPERING)
    async def test_a_commit_that_relies_on_the_one_before_is_not_acknowledged_either(
        self, storage: SqliteStorage, tamper: Callable[[str], None], event: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        finding, action = TAMPERING[event]
        monkeypatch.setattr(writer_connection, "_LONGEST_TRUST_SECONDS", float("inf"))

        tamper(action)

        with pytest.raises(DatabaseError, match=finding):
            await storage.store_task(a_task("late"))

    @pytest.mark.parametrize("event", TAMPERING)
    async def test_a_commit_that_relies_on_reports_of_the_system_is_not_acknowledged_either(
        self, storage: SqliteStorage, tamper: Callable[[str], None], event: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        finding, action = TAMPERING[event]
        await rely_on_reports(storage, monkeypatch)

        tamper(action)

        with pytest.raises(DatabaseError, match=finding):
            await storage.store_task(a_task("late"))
        error = await outcome(storage, "store_task")
        assert isinstance(error, DatabaseError)
        assert re.search(finding, str(error))

    async def test_what_changes_no_content_is_reported_and_verified_once(
        self, storage: SqliteStorage, tamper: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await rely_on_reports(storage, monkeypatch)
        verified = count_verifications(monkeypatch)

        tamper("os.chmod(path, 0o640); os.link(path, path + '.link'); os.utime(log)")
        for number in range(3):
            await storage.store_task(a_task(f"afterwards-{number}"))

        assert len(verified) == 1
        assert await storage.get_task("afterwards-2") is not None

    async def test_a_checkpoint_of_another_process_is_verified(
        self, storage: SqliteStorage, path: Path, tamper: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await rely_on_reports(storage, monkeypatch)
        verified = count_verifications(monkeypatch)

        tamper(
            "with closing(sqlite3.connect(path)) as database:\n"
            "    database.execute('PRAGMA wal_checkpoint(TRUNCATE)').fetchall()"
        )
        await storage.store_task(a_task("afterwards"))

        assert verified
        async with await SqliteStorage.open(path) as other:
            assert await other.get_task("afterwards") is not None

    async def test_what_the_system_does_not_report_is_found_a_moment_later(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "a" / "b").mkdir(parents=True)
        async with await SqliteStorage.open(tmp_path / "a" / "b" / "swarm.db") as storage:
            await rely_on_reports(storage, monkeypatch)
            monkeypatch.undo()

            os.rename(tmp_path / "a", tmp_path / "other")
            await asyncio.sleep(0.01)

            error = await outcome(storage, "store_task")
            assert isinstance(error, DatabaseError)
            assert "was renamed, moved or deleted" in str(error)

    @pytest.mark.parametrize("lacks", ["the system call", "a queue", "the right to read the directory"])
    async def test_without_reports_each_commit_verifies_the_paths(
        self,
        storage: SqliteStorage,
        path: Path,
        tamper: Callable[[str], None],
        monkeypatch: pytest.MonkeyPatch,
        lacks: str,
    ) -> None:
        if lacks == "the system call":
            monkeypatch.setattr(inotify, "_library", None)
        refused = {"a queue": "__init__", "the right to read the directory": "watch"}
        if lacks in refused:
            monkeypatch.setattr(Inotify, refused[lacks], raises_permission_error)
        descriptors = len(os.listdir("/proc/self/fd"))
        await rely_on_reports(storage, monkeypatch)
        verified = count_verifications(monkeypatch)
        assert len(os.listdir("/proc/self/fd")) == descriptors

        await storage.store_task(a_task("afterwards"))
        assert verified
        tamper(TAMPERING["the file is deleted"][1])

        error = await outcome(storage, "store_task")
        assert isinstance(error, DatabaseError)

    async def test_the_descriptor_of_the_reports_is_closed_with_the_storage(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        descriptors = len(os.listdir("/proc/self/fd"))
        async with await SqliteStorage.open(path) as storage:
            await rely_on_reports(storage, monkeypatch)
            assert any("inotify" in os.readlink(f"/proc/self/fd/{each}") for each in os.listdir("/proc/self/fd"))

        assert len(os.listdir("/proc/self/fd")) == descriptors

    @pytest.mark.parametrize("event", ELSEWHERE)
    async def test_a_storage_that_only_reads_says_so_too(
        self, storage: SqliteStorage, tamper: Callable[[str], None], event: str
    ) -> None:
        finding, action = TAMPERING[event]

        tamper(action)

        for verb in ("get_task", "list_agents"):
            error = await outcome(storage, verb)
            assert isinstance(error, DatabaseError), f"{verb} was answered"
            assert re.search(finding, str(error)), verb

    @pytest.mark.parametrize("event", BACK)
    async def test_it_works_again_once_the_original_is_back(
        self, storage: SqliteStorage, tamper: Callable[[str], None], event: str
    ) -> None:
        tamper(TAMPERING[event][1])
        assert await outcome(storage, "store_task") is not None
        assert await outcome(storage, "get_task") is not None

        tamper(BACK[event])

        await storage.store_task(a_task("afterwards"))
        assert await storage.get_task("afterwards") is not None

    @pytest.mark.parametrize("event", ["another database is renamed over it", "a backup is renamed over it"])
    @pytest.mark.parametrize("first", ["store_task", None])
    async def test_closing_leaves_a_file_that_was_put_in_its_place_as_it_is(
        self, storage: SqliteStorage, path: Path, tamper: Callable[[str], None], event: str, first: str | None
    ) -> None:
        tamper(f"{TAMPERING[event][1]}; pathlib.Path(log).write_bytes(b'the log of the other one')")
        before = content_of(path)
        if first is not None:
            assert await outcome(storage, first) is not None

        await storage.close()

        assert content_of(path) == before
        assert content_of(path.with_name("swarm.db-wal")) == b"the log of the other one"

    async def test_what_stood_in_a_deleted_log_is_in_the_file_once_it_is_closed(
        self, storage: SqliteStorage, path: Path, tamper: Callable[[str], None]
    ) -> None:
        tamper(TAMPERING["the log is deleted"][1])
        assert await outcome(storage, "store_task") is not None

        await storage.close()

        async with await SqliteStorage.open(path) as again:
            assert await again.get_task("task-9") is not None

    @pytest.mark.parametrize("event", ELSEWHERE)
    async def test_an_open_transaction_neither_reads_nor_commits(
        self, storage: SqliteStorage, tamper: Callable[[str], None], event: str
    ) -> None:
        finding, action = TAMPERING[event]
        transaction = await storage.begin_transaction()
        await storage.store_task(a_task("late"))

        tamper(action)

        with pytest.raises(DatabaseError, match=finding):
            await storage.get_task("task-1")
        with pytest.raises(StorageError, match=finding):
            await transaction.commit()

    async def test_a_link_that_leads_elsewhere_later_changes_nothing(
        self, path: Path, tmp_path: Path, other: Path
    ) -> None:
        link = tmp_path / "link.db"
        os.symlink(path, link)
        async with await SqliteStorage.open(link) as storage:
            await storage.store_task(a_task("a"))
            os.unlink(link)
            os.symlink(other, link)

            # It goes on with the file that it has opened, which is where it was.
            await storage.store_task(a_task("b"))

            assert storage.path == str(path)
        async with await SqliteStorage.open(path) as again:
            assert await again.get_task("b") is not None

    async def test_another_sqlite_library_in_the_process_costs_nothing_acknowledged(self, path: Path) -> None:
        """Its closing drops this process's locks: then any other process takes itself for the last one, on leaving."""
        program = """
            import asyncio, sqlite3, subprocess, sys
            from swarm_persistence import SqliteStorage, StorageError, TaskModel

            look = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('SELECT count(*) FROM tasks').fetchone()"

            async def main(path):
                storage = await SqliteStorage.open(path)
                for number in range(400):
                    if number % 100 == 50:
                        connection = sqlite3.connect(path)
                        connection.execute("SELECT count(*) FROM tasks").fetchall()
                        connection.close()
                        subprocess.run([sys.executable, "-c", look, path], check=True, capture_output=True)
                    try:
                        await storage.store_task(TaskModel.new("job", number))
                    except StorageError:
                        continue
                    print(number, flush=True)
                print("done", flush=True)
                sys.stdin.readline()

            asyncio.run(main(sys.argv[1]))
            """
        running = Program(program, path)
        acknowledged: set[int] = set()
        while (line := running.wait_for_line()) != "done":
            acknowledged.add(int(line))
        running.kill()

        async with await SqliteStorage.open(path) as storage:
            stored = {task.payload for task in await storage.repository(TaskModel).find_all()}
        assert {*range(50)} <= acknowledged <= stored
