"""Facts about a log without its file: opening would destroy what it holds, and is refused."""

import shutil
from pathlib import Path

import pytest

from cli.commands import run_command
from swarm_persistence import DatabaseError, SqliteStorage
from swarm_persistence_conformance.records import an_agent, ids


async def crashed(path: Path, tmp_path: Path) -> Path:
    """Return the path of a file with all its records in the log, as a crash leaves it."""
    copy = tmp_path / "crashed.db"
    async with await SqliteStorage.open(path) as storage:
        await storage.store_agent(an_agent())
        for suffix in ("", "-wal"):
            shutil.copy(f"{path}{suffix}", f"{copy}{suffix}")
    return copy


def log_of(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


@pytest.mark.parametrize("state", ["missing", "empty"])
async def test_a_log_without_its_file_is_refused_and_kept_until_the_file_is_back(
    path: Path, tmp_path: Path, state: str
) -> None:
    crash = await crashed(path, tmp_path)
    file = crash.rename(tmp_path / "elsewhere.db")
    if state == "empty":
        crash.touch()
    log = log_of(crash).read_bytes()

    for _ in range(2):
        with pytest.raises(
            DatabaseError, match=rf"crashed.db' is {state}, but its log .* holds [\d,]+ bytes"
        ) as caught:
            await SqliteStorage.open(crash)
    assert "swarm-persistence recover" in str(caught.value)
    assert log_of(crash).read_bytes() == log
    assert crash.exists() == (state == "empty")

    file.rename(crash)
    async with await SqliteStorage.open(crash) as storage:
        assert ids(await storage.list_agents()) == ["agent-1"]


@pytest.mark.parametrize("size", [0, 32])
async def test_a_log_without_content_is_no_hindrance(path: Path, size: int) -> None:
    log_of(path).write_bytes(b"\0" * size)

    async with await SqliteStorage.open(path) as storage:
        await storage.store_agent(an_agent())

        assert ids(await storage.list_agents()) == ["agent-1"]


@pytest.mark.parametrize("page", [bytes(4096), b"\xff" * 4096], ids=["zeros", "ones"])
async def test_a_file_whose_first_page_stands_in_its_log_only_opens(path: Path, tmp_path: Path, page: bytes) -> None:
    crash = await crashed(path, tmp_path)
    with crash.open("r+b") as file:
        file.write(page)

    async with await SqliteStorage.open(crash) as storage:
        assert ids(await storage.list_agents()) == ["agent-1"]


async def test_a_file_whose_content_is_lost_but_for_its_log_is_refused_if_the_log_is_not_whole(
    path: Path, tmp_path: Path
) -> None:
    async with await SqliteStorage.open(path) as storage:
        await storage.checkpoint()
        await storage.store_agent(an_agent())
        crash = tmp_path / "crashed.db"
        for suffix in ("", "-wal"):
            shutil.copy(f"{path}{suffix}", f"{crash}{suffix}")
    with crash.open("r+b") as file:
        file.write(bytes(crash.stat().st_size))
    before = crash.read_bytes(), log_of(crash).read_bytes()

    with pytest.raises(DatabaseError, match=r"crashed.db"):
        await SqliteStorage.open(crash)

    assert (crash.read_bytes(), log_of(crash).read_bytes()) == before


async def test_commits_behind_a_damaged_first_one_are_not_taken_for_a_new_file(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "crashed.db"
    async with await SqliteStorage.open(path) as storage:
        for number in range(8):
            await storage.store_agent(an_agent(f"agent-{number}"))
        for suffix in ("", "-wal"):
            shutil.copy(f"{path}{suffix}", f"{copy}{suffix}")
    log = bytearray(log_of(copy).read_bytes())
    log[32 + 10 * (24 + 4096) + 100] ^= 0xFF
    log_of(copy).write_bytes(log)
    before = copy.read_bytes(), bytes(log)

    with pytest.raises(DatabaseError, match=r"seems to be new, but its log holds \d+ commits behind a damaged frame"):
        await SqliteStorage.open(copy)
    assert run_command("doctor", copy).returncode == 1
    assert (copy.read_bytes(), log_of(copy).read_bytes()) == before

    # The refused opening has left an index of the log, as a killed process does.
    assert log_of(copy).with_name("crashed.db-shm").exists()
    assert run_command("recover", copy, tmp_path / "new.db").stderr == ""
    async with await SqliteStorage.open(tmp_path / "new.db") as storage:
        assert len(await storage.list_agents()) == 8
