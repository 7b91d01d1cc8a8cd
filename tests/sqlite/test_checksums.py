"""Facts about page checksums: damage is noticed when it is read, and a damaged log loses no commit silently."""

# ruff: noqa: ASYNC221, ASYNC240 - the files are small, and a test may wait for them and for its processes

import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import apsw
import pytest

from cli.commands import run_command
from swarm_persistence import DatabaseError, OtherError, SqliteStorage, TaskModel
from swarm_persistence.engines.sql.sqlite import checksums
from swarm_persistence.engines.sql.sqlite.log import commits_behind

_TEXT = "a text that stands in one place of the file only"


async def filled(path: Path, *, checksums: bool, tasks: int = 300) -> None:
    async with await SqliteStorage.open(path, checksums=checksums) as storage:
        await storage.store_task(TaskModel(id="damaged", task_type="job", payload=_TEXT))
        await storage.store_tasks([TaskModel(id=f"task-{n}", task_type="job", payload=n) for n in range(tasks)])


def damage(path: Path, before: bytes, after: bytes) -> None:
    """Change the bytes of a closed file, as a disk that decays does."""
    data = path.read_bytes()
    assert data.count(before) == 1
    path.write_bytes(data.replace(before, after))


def keeps_checksums(path: Path) -> bool:
    connection = apsw.Connection(str(path))
    try:
        return checksums.are_kept(connection)
    finally:
        connection.close()


class TestADamagedPage:
    async def test_reading_it_raises_with_checksums(self, path: Path) -> None:
        await filled(path, checksums=True)
        damage(path, _TEXT.encode(), _TEXT.encode().replace(b"one", b"two"))

        async with await SqliteStorage.open(path) as storage:
            with pytest.raises(DatabaseError, match=r"checksum.*recover"):
                await storage.get_task("damaged")

    async def test_reading_it_gives_what_was_never_stored_without(self, path: Path) -> None:
        """Why one may want them: SQLite's own integrity check does not notice either."""
        await filled(path, checksums=False)
        damage(path, _TEXT.encode(), _TEXT.encode().replace(b"one", b"two"))

        async with await SqliteStorage.open(path) as storage:
            task = await storage.get_task("damaged")

        assert task is not None
        assert task.payload == _TEXT.replace("one", "two")

    async def test_what_stands_on_other_pages_is_read_and_written(self, path: Path) -> None:
        await filled(path, checksums=True)
        damage(path, _TEXT.encode(), _TEXT.encode().replace(b"one", b"two"))

        async with await SqliteStorage.open(path) as storage:
            assert await storage.get_task("task-299") is not None
            await storage.store_task(TaskModel(id="another", task_type="other"))
            assert await storage.get_task("another") is not None


class TestWhoKeepsThem:
    async def test_a_file_goes_on_keeping_them_however_it_is_opened(self, path: Path) -> None:
        await filled(path, checksums=True)

        async with await SqliteStorage.open(path) as storage:
            await storage.store_tasks([TaskModel.new("job", "x" * 500) for _ in range(500)])
            await storage.vacuum()

        assert keeps_checksums(path)
        async with await SqliteStorage.open(path, checksums=True) as storage:
            assert await storage.repository(TaskModel).count() == 801

    async def test_a_file_that_was_made_without_is_refused_and_left_as_it_is(self, path: Path) -> None:
        await filled(path, checksums=False)
        before = path.read_bytes()

        with pytest.raises(
            OtherError, match="keeps no checksums; add them with `swarm-persistence checksums DATABASE`"
        ):
            await SqliteStorage.open(path, checksums=True)

        assert path.read_bytes() == before

    async def test_the_builder_knows_them(self, path: Path) -> None:
        async with await SqliteStorage.builder().checksums().build(path) as storage:
            await storage.store_task(TaskModel.new("job", 1))

        assert keeps_checksums(path)

    async def test_a_setting_that_is_no_bool_is_refused(self, path: Path) -> None:
        with pytest.raises(OtherError, match="checksums is 'yes', expected True or False"):
            await SqliteStorage.open(path, checksums="yes")  # type: ignore[arg-type]

    async def test_other_connections_of_the_process_use_their_own_vfs(self, path: Path) -> None:
        default = apsw.Connection(":memory:").open_vfs
        await filled(path, checksums=True)

        other = apsw.Connection(str(path.with_name("other.db")))

        assert other.open_vfs == default
        other.close()

    def test_an_apsw_without_its_extras_is_told_of(self, path: Path, tmp_path: Path) -> None:
        packages = tmp_path / "packages"
        shutil.copytree(Path(apsw.__file__).parent, packages / "apsw")
        shutil.rmtree(packages / "apsw" / "sqlite_extra_binaries")
        program = (
            "import asyncio, sys\n"
            "from swarm_persistence import SqliteStorage\n"
            "asyncio.run(SqliteStorage.open(sys.argv[1], checksums=True))\n"
        )
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(packages), *sys.path))}

        done = subprocess.run(
            (sys.executable, "-c", program, str(path)), env=environment, capture_output=True, text=True, check=False
        )

        assert "OtherError" in done.stderr
        assert "checksums need the extension cksumvfs, which this apsw lacks" in done.stderr


async def left_log(path: Path, *, checksums: bool, commits: int = 8) -> tuple[Path, int]:
    """Return a copy of a file whose log holds so many commits, and where in the log they begin."""
    copy = path.with_name("copy.db")
    async with await SqliteStorage.open(path, checksums=checksums) as storage:
        await storage.checkpoint()
        begin = path.with_name(f"{path.name}-wal").stat().st_size
        for number in range(commits):
            await storage.store_task(TaskModel(id=f"task-{number}", task_type="job"))
        # In a process of its own: to close the file here would drop this process's locks on it.
        for suffix in ("", "-wal"):
            subprocess.run(("cp", f"{path}{suffix}", f"{copy}{suffix}"), check=True)
    return copy, begin


def flip_byte(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 0x40
    path.write_bytes(data)


def log_of(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


class TestADamagedLog:
    async def test_commits_behind_the_damage_are_not_dropped_silently(self, path: Path) -> None:
        copy, begin = await left_log(path, checksums=True)
        flip_byte(log_of(copy), begin + 100)
        before = copy.read_bytes(), log_of(copy).read_bytes()

        with pytest.raises(DatabaseError, match=r"its log is damaged at frame \d+.*drop \d commits.*recover"):
            await SqliteStorage.open(copy)

        assert (copy.read_bytes(), log_of(copy).read_bytes()) == before

    async def test_it_can_be_opened_without_them_by_name(self, path: Path) -> None:
        copy, begin = await left_log(path, checksums=True)
        flip_byte(log_of(copy), begin + 100)

        async with await SqliteStorage.open(copy, durability="normal") as storage:
            assert len(await storage.get_pending_tasks()) < 8

    async def test_a_file_without_checksums_opens_and_the_loss_is_logged(
        self, path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        copy, begin = await left_log(path, checksums=False)
        flip_byte(log_of(copy), begin + 100)

        with caplog.at_level(logging.ERROR, "swarm_persistence"):
            await (await SqliteStorage.open(copy)).close()

        assert "commits behind it are lost" in caplog.text

    async def test_a_last_commit_that_a_power_cut_has_torn_is_no_hindrance(self, path: Path) -> None:
        copy, _ = await left_log(path, checksums=True)
        log = log_of(copy)
        frames = (log.stat().st_size - 32) // (4096 + 24)
        flip_byte(log, 32 + (frames - 1) * (4096 + 24) + 500)

        async with await SqliteStorage.open(copy) as storage:
            assert len(await storage.get_pending_tasks()) == 7

    @pytest.mark.parametrize("checksums", [False, True])
    async def test_one_that_was_about_to_be_emptied_after_a_checkpoint_hides_no_commits(
        self, path: Path, checksums: bool, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with await SqliteStorage.open(path, checksums=checksums) as storage:
            await storage.store_tasks([TaskModel(id=str(number), task_type="job") for number in range(3)])
            await storage.store_task(TaskModel(id="3", task_type="job"))
            frames = log_of(path).read_bytes()
            await storage.checkpoint()
            assert log_of(path).stat().st_size == 0
            # As if the process that made the checkpoint were killed once it had reset the log, and before that.
            log_of(path).write_bytes(frames)
            assert commits_behind(log_of(path), 0) > 1

            async with await SqliteStorage.open(path) as other:
                await other.store_task(TaskModel(id="4", task_type="job"))
            assert len(await storage.get_pending_tasks()) == 5

        assert caplog.text == ""

    @pytest.mark.parametrize("checksums", [False, True])
    async def test_a_sound_log_opens_beside_a_process_that_writes(self, path: Path, checksums: bool) -> None:
        async with await SqliteStorage.open(path, checksums=checksums) as storage:
            for number in range(50):
                await storage.store_task(TaskModel(id=f"task-{number}", task_type="job"))
                await (await SqliteStorage.open(path)).close()


class TestTheCommand:
    async def test_it_adds_them_to_a_filled_file(self, path: Path) -> None:
        await filled(path, checksums=False)
        async with await SqliteStorage.open(path) as storage:
            before = await storage.get_pending_tasks()

        assert "keeps a checksum of each page" in run_command("checksums", path).stdout

        assert keeps_checksums(path)
        assert "correct in all pages" in run_command("doctor", path).stdout
        async with await SqliteStorage.open(path, checksums=True) as storage:
            assert await storage.get_pending_tasks() == before

    async def test_it_waits_for_no_process_that_has_the_file_open(self, path: Path) -> None:
        async with await SqliteStorage.open(path) as storage:
            await storage.store_task(TaskModel.new("job", 1))

            done = run_command("checksums", path)

            assert (done.returncode, done.stdout) == (1, "")
            assert "is open in another process; stop it first" in done.stderr
            await storage.store_task(TaskModel.new("job", 2))

    async def test_it_leaves_a_damaged_file_as_it_is(self, path: Path) -> None:
        await filled(path, checksums=False)
        with path.open("r+b") as file:
            file.seek(4096 * 12)
            file.write(b"\xff" * 4096)
        before = path.read_bytes()

        done = run_command("checksums", path)

        assert done.returncode == 1
        assert path.read_bytes() == before

    async def test_a_disk_without_room_is_told_in_one_line(self, path: Path) -> None:
        await filled(path, checksums=False)
        before = path.read_bytes()
        limited = f'ulimit -f 8; exec "{sys.executable}" -m swarm_persistence checksums "$0"'

        done = subprocess.run(["sh", "-c", limited, str(path)], capture_output=True, text=True, check=False)

        assert done.returncode == 1
        (line,) = done.stderr.splitlines()
        assert "was not rewritten with checksums (SQLite: " in line
        assert path.read_bytes() == before

    async def test_it_mends_what_the_checkpoint_of_another_program_has_left(self, path: Path) -> None:
        copy, _ = await left_log(path, checksums=True)
        other = apsw.Connection(str(copy))
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        other.close()
        assert "checksums: wrong in" in run_command("doctor", copy).stdout

        run_command("checksums", copy)

        assert "correct in all pages" in run_command("doctor", copy).stdout
        async with await SqliteStorage.open(copy) as storage:
            assert len(await storage.get_pending_tasks()) == 8

    async def test_the_doctor_names_the_damaged_pages(self, path: Path) -> None:
        await filled(path, checksums=True)
        flip_byte(path, 4096 * 11 + 2000)

        done = run_command("doctor", path)

        assert done.returncode == 1
        assert "checksums: wrong in 1 pages: 12" in done.stdout
