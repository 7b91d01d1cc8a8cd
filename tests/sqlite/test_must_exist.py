"""Facts about opening what must exist: nothing is created, and what cannot be written can be read."""

# ruff: noqa: ASYNC240 - the files are small, and a test may wait for them

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from sqlite.programs import Program
from swarm_persistence import DatabaseError, SqliteStorage
from swarm_persistence_conformance.records import an_agent, ids

READ = """
    import asyncio, contextlib, io, os, sys
    from swarm_persistence import AgentModel, SqliteStorage, StorageError
    from swarm_persistence.cli.main import main as run_command

    folder, path = sys.argv[1:]

    def as_another_user():
        for name in os.listdir(folder):
            os.chmod(f"{folder}/{name}", 0o444)
        os.chmod(folder, 0o555)
        if os.geteuid() == 0:  # whom no mode stops
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)

    async def read():
        async with await SqliteStorage.open(path, must_exist=True) as storage:
            print([agent.id for agent in await storage.list_agents()])
            for write in (storage.store_agent(AgentModel.new("a", "b")), storage.vacuum(), storage.migrate_to(0)):
                try:
                    await write
                except StorageError as error:
                    print(error)
            try:
                async with storage.transaction():
                    await storage.delete_agent("agent-1")
            except StorageError as error:
                print(error)
            print([agent.id for agent in await storage.list_agents()])

    run_command(["stats", path, "--json"])  # loads all that is to be loaded
    print("loaded", flush=True)
    input()
    as_another_user()
    before = sorted(os.listdir(folder))
    try:
        asyncio.run(read())
    except StorageError as error:
        print(error)
    with contextlib.redirect_stderr(io.StringIO()):
        print(run_command(["stats", path, "--json"]))
    assert sorted(os.listdir(folder)) == before
"""
"""Reads a file that it cannot write; waits in between, so that the test can change what is there."""


@pytest.fixture
def place() -> Iterator[Path]:
    """Give a directory that another user can reach."""
    place = Path(tempfile.mkdtemp())
    yield place
    place.chmod(0o700)
    shutil.rmtree(place)


async def fill(path: Path, *, keep: tuple[str, ...] = ()) -> None:
    """Make a file, and leave what is to be kept of its log as a crash leaves it."""
    origin = path.with_name("origin")
    async with await SqliteStorage.open(origin) as storage:
        await storage.store_agent(an_agent())
        for suffix in ("", *keep):
            shutil.copy(f"{origin}{suffix}", f"{path}{suffix}")
    if not keep:
        shutil.copy(origin, path)
    origin.unlink()


class TestReading:
    @pytest.mark.parametrize("keep", [(), ("-wal",), ("-wal", "-shm")], ids=["no log", "a log", "a log and its index"])
    async def test_a_file_that_cannot_be_written_is_read_with_its_log(self, place: Path, keep: tuple[str, ...]) -> None:
        path = place / "swarm.db"
        await fill(path, keep=keep)
        program = Program(READ, place, path)
        while program.wait_for_line() != "loaded":
            pass
        for left in place.iterdir():
            left.unlink()
        await fill(path, keep=keep)  # the program has opened it for writing, and closed it

        program.tell("")
        agents, *refusals, again = program.finish()[:6]

        assert agents == again == "['agent-1']"
        assert len(refusals) == 4
        for refusal in refusals:
            assert "cannot be written" in refusal

    async def test_its_numbers_can_be_seen(self, place: Path) -> None:
        path = place / "swarm.db"
        await fill(path)
        program = Program(READ, place, path)
        while program.wait_for_line() != "loaded":
            pass

        program.tell("")
        *report, code = program.finish()[6:]

        assert code == "0"
        assert sum(json.loads("\n".join(report))["agents"].values()) == 1

    async def test_one_of_an_older_version_says_what_to_do(self, place: Path) -> None:
        path = place / "swarm.db"
        await fill(path)
        program = Program(READ, place, path)
        while program.wait_for_line() != "loaded":
            pass
        async with await SqliteStorage.open(path) as storage:
            await storage.migrate_to(2)

        program.tell("")
        refusal, code = program.finish()

        assert refusal.startswith("Migration error: ")
        assert "has schema version 2" in refusal
        assert "copy it to where it can" in refusal
        assert code == "1"


class TestWriting:
    async def test_one_that_can_be_written_is_written(self, path: Path) -> None:
        await (await SqliteStorage.open(path)).close()

        async with await SqliteStorage.open(path, must_exist=True) as storage:
            await storage.store_agent(an_agent())

            assert ids(await storage.list_agents()) == ["agent-1"]

    async def test_an_older_one_is_brought_up(self, path: Path) -> None:
        async with await SqliteStorage.open(path) as storage:
            latest = (await storage.migration_status()).latest
            await storage.migrate_to(2)

        async with await SqliteStorage.open(path, must_exist=True) as storage:
            assert (await storage.migration_status()).version == latest


class TestNothingThere:
    async def test_a_missing_file_is_not_created(self, path: Path) -> None:
        with pytest.raises(DatabaseError, match=r"there is no swarm at .*swarm.db': the file is missing"):
            await SqliteStorage.open(path, must_exist=True)

        assert not path.exists()

    async def test_an_empty_file_stays_empty(self, path: Path) -> None:
        path.touch()

        with pytest.raises(DatabaseError, match=r"there is no swarm at .*swarm.db': the file is empty"):
            await SqliteStorage.open(path, must_exist=True)

        assert path.read_bytes() == b""

    async def test_a_database_without_content_stays_so(self, path: Path) -> None:
        connection = apsw.Connection(str(path))
        connection.execute("VACUUM").fetchall()
        connection.close()
        before = path.read_bytes()

        with pytest.raises(DatabaseError, match=r"there is no swarm at .*swarm.db': the file holds nothing yet"):
            await SqliteStorage.open(path, must_exist=True)

        assert path.read_bytes() == before
