"""Facts about symbolic links: the file that is opened is the one at their end, and so is its log."""

# ruff: noqa: ASYNC240 - the files are small, and a test may wait for them

import sqlite3
from pathlib import Path

import pytest

from swarm_persistence import DatabaseError, SqliteStorage
from swarm_persistence_conformance.records import an_agent, ids


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Give a directory beside the one of the links."""
    data = tmp_path / "data"
    data.mkdir()
    return data


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


async def test_the_log_lies_beside_the_file_and_not_beside_the_link(path: Path, data: Path) -> None:
    path.symlink_to(data / "real.db")

    async with await SqliteStorage.open(data / "real.db") as storage, await SqliteStorage.open(path) as linked:
        await linked.store_agent(an_agent())

        assert ids(await storage.list_agents()) == ["agent-1"]
        assert linked.path == storage.path == str(data / "real.db")
        assert await linked.get_storage_size() == await storage.get_storage_size()
        assert names_in(data) == {"real.db", "real.db-wal", "real.db-shm"}
        assert names_in(path.parent) == {"swarm.db", "data"}


async def test_a_link_to_another_programs_database_in_use_is_refused(path: Path, data: Path) -> None:
    theirs = sqlite3.connect(data / "theirs.db", isolation_level=None)
    theirs.execute("PRAGMA journal_mode = WAL")
    theirs.execute("CREATE TABLE precious (x)")
    path.symlink_to(data / "theirs.db")

    with pytest.raises(DatabaseError, match=r"data/theirs.db' is another program's database"):
        await SqliteStorage.open(path)

    assert theirs.execute("SELECT name FROM sqlite_schema").fetchall() == [("precious",)]
    theirs.close()


async def test_a_link_whose_target_does_not_exist_yet_makes_the_target(path: Path, data: Path) -> None:
    (data / "second").symlink_to("real.db")
    path.symlink_to(data / "second")

    async with await SqliteStorage.open(path) as storage:
        await storage.store_agent(an_agent())

    assert path.is_symlink()
    assert (data / "real.db").stat().st_mode & 0o777 == 0o600
    assert names_in(data) == {"second", "real.db"}


async def test_a_link_to_a_directory_on_the_way_is_followed(path: Path, data: Path) -> None:
    path.symlink_to(data)

    async with await SqliteStorage.open(path / "real.db") as storage:
        assert storage.path == str(data / "real.db")


async def test_a_link_that_is_turned_elsewhere_changes_nothing_for_an_open_storage(path: Path, data: Path) -> None:
    path.symlink_to(data / "real.db")
    async with await SqliteStorage.builder().idle_timeout(0.01).min_idle_connections(0).build(path) as storage:
        await storage.store_agent(an_agent())
        path.unlink()
        path.symlink_to(data / "other.db")

        assert ids(await storage.list_agents()) == ["agent-1"]  # on a connection that is opened now
        assert not (data / "other.db").exists()


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("swarm.db", "Too many levels of symbolic links"),
        ("nowhere/real.db", r"the directory '.*/nowhere' does not exist"),
        ("data", "is a directory"),
    ],
)
async def test_a_link_that_leads_to_no_file_is_refused_with_the_reason(
    path: Path, data: Path, target: str, reason: str
) -> None:
    path.symlink_to(target)

    with pytest.raises(DatabaseError, match=reason):
        await SqliteStorage.open(path)

    assert names_in(path.parent) == {"swarm.db", "data"}
    assert names_in(data) == set()
