"""`swarm-persistence doctor` on files with logs: whose they are, what SQLite makes of them, and not a byte changed."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw
import pytest

from swarm_persistence import TaskModel, open_storage
from swarm_persistence.cli.main import main

PAGE = 4096
FRAME = PAGE + 24

# Ends without closing, as a killed process does: the log stays.
FILLING = """
import os, sys
from swarm_persistence import TaskModel, open_storage
storage = open_storage(sys.argv[1])
for number in range(int(sys.argv[2])):
    storage.store_many([TaskModel.new(f"t{number}", "x" * 500) for _ in range(20)])
os._exit(0)
"""


def fill(path: Path, groups: int) -> None:
    subprocess.run([sys.executable, "-c", FILLING, str(path), str(groups)], check=True)
    path.with_name(f"{path.name}-shm").unlink()


def sound(path: Path, tasks: int = 100) -> Path:
    with open_storage(path) as storage:
        storage.store_many([TaskModel.new("sound", "x" * 500) for _ in range(tasks)])
    return path


def log_of(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


@contextmanager
def unchanged(path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Fail if the block has changed a byte beside the path, or made a file."""
    capsys.readouterr()
    before = {each.name: each.read_bytes() for each in path.parent.iterdir()}
    yield
    assert {each.name: each.read_bytes() for each in path.parent.iterdir()} == before


def examined(path: Path, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, dict[str, Any]]:
    """Run the command, which leaves every byte as it is; return its exit code and the findings by their checks."""
    with unchanged(path, capsys):
        code = main(["doctor", str(path), "--json", *options])
        report = json.loads(capsys.readouterr().out)
    return code, {finding["check"]: finding for finding in report["findings"]}


def test_a_database_with_its_own_log_is_sound(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = sound(tmp_path / "swarm.db")
    fill(path, 5)
    code, findings = examined(path, capsys)
    assert code == 0
    assert findings["log (WAL)"]["level"] == "ok"
    assert findings["integrity_check"]["detail"] == "ok"


def test_a_database_that_exists_only_in_its_log_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "swarm.db"
    fill(path, 3)
    assert path.stat().st_size == PAGE
    code, findings = examined(path, capsys)
    assert (code, findings["log (WAL)"]["level"]) == (0, "advice")
    assert "exists in its log only" in findings["log (WAL)"]["detail"]
    assert "never `cp`" in findings["log (WAL)"]["remedy"]


@pytest.mark.parametrize("groups", [1, 3, 20])
@pytest.mark.parametrize("is_checkpointed", [False, True])
def test_the_log_of_another_database_is_told_and_the_sound_file_stays_sound(
    groups: int, is_checkpointed: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "other").mkdir()
    other = tmp_path / "other" / "other.db"
    if is_checkpointed:
        sound(other, tasks=200)
    fill(other, groups)
    (tmp_path / "own").mkdir()
    path = sound(tmp_path / "own" / "swarm.db")
    shutil.copy(log_of(other), log_of(path))
    code, findings = examined(path, capsys)
    assert (code, findings["log (WAL)"]["level"]) == (1, "wrong")
    assert "the log of another database or state" in findings["log (WAL)"]["detail"]
    assert findings["integrity_check"]["detail"] == "ok without the log"
    log_of(path).unlink()
    with open_storage(path) as storage:
        assert len(storage.get_pending_tasks()) == 100


def test_an_older_log_beside_a_restored_file_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = sound(tmp_path / "swarm.db")
    fill(path, 3)
    old = log_of(path).read_bytes()
    with open_storage(path) as storage:
        storage.prune(0)
        storage.vacuum()
        for _ in range(5):
            storage.store_many([TaskModel.new("more", "y" * 500) for _ in range(100)])
            storage.checkpoint()
    log_of(path).write_bytes(old)
    code, findings = examined(path, capsys)
    assert (code, findings["log (WAL)"]["level"]) == (1, "wrong")
    assert "the log of another database or state" in findings["log (WAL)"]["detail"]


def test_a_log_that_sqlite_ignores_is_harmless(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "swarm.db"
    fill(path, 3)
    log = bytearray(log_of(path).read_bytes())
    sound_path = tmp_path / "sound" / "swarm.db"
    sound_path.parent.mkdir()
    sound(sound_path)
    for start in range(32, len(log), FRAME):
        log[start + 8] ^= 1  # another salt in each frame: all were written before the header
    log_of(sound_path).write_bytes(log)
    code, findings = examined(sound_path, capsys)
    assert (code, findings["log (WAL)"]["level"]) == (0, "ok")
    assert "SQLite ignores them" in findings["log (WAL)"]["detail"]


def test_commits_that_a_damaged_log_drops_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "swarm.db"
    fill(path, 30)
    log = bytearray(log_of(path).read_bytes())
    middle = 32 + len(log) // FRAME // 2 * FRAME + 1000
    log[middle] ^= 0xFF
    log_of(path).write_bytes(log)
    code, findings = examined(path, capsys)
    assert (code, findings["log (WAL)"]["level"]) == (1, "wrong")
    assert "committed transactions without a word" in findings["log (WAL)"]["detail"]
    assert "recover" in findings["log (WAL)"]["remedy"]


def test_a_torn_last_commit_is_no_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "swarm.db"
    fill(path, 5)
    with log_of(path).open("r+b") as log:
        log.truncate(log_of(path).stat().st_size - 1000)
    code, findings = examined(path, capsys)
    assert (code, findings["integrity_check"]["detail"]) == (0, "ok")


@pytest.mark.parametrize("is_there", [True, False])
def test_a_file_that_is_lost_beside_its_log_is_told(
    is_there: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "swarm.db"
    fill(path, 3)
    path.unlink()
    if is_there:
        path.touch()
    code, findings = examined(path, capsys)
    assert (code, findings["content"]["level"]) == (1, "wrong")
    assert findings["content"]["detail"].startswith(f"the file is {'empty' if is_there else 'missing'}, and its log of")
    assert "recover" in findings["content"]["remedy"]


def test_a_link_is_followed_to_the_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "disk").mkdir()
    path = sound(tmp_path / "disk" / "swarm.db")
    fill(path, 20)
    link = tmp_path / "swarm.db"
    link.symlink_to(path)
    with unchanged(path, capsys):
        assert main(["doctor", str(link), "--json"]) == 0
    findings = {each["check"]: each for each in json.loads(capsys.readouterr().out)["findings"]}
    assert str(path) in findings["names"]["detail"]
    assert findings["log (WAL)"]["detail"].startswith(f"{log_of(path).stat().st_size:,} bytes")


def test_a_second_name_of_the_file_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = sound(tmp_path / "swarm.db")
    os.link(path, tmp_path / "again.db")
    code, findings = examined(path, capsys)
    assert (code, findings["names"]["level"]) == (0, "advice")


def test_an_interrupted_write_in_rollback_mode_is_told_and_not_undone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = sound(tmp_path / "swarm.db")
    connection = apsw.Connection(str(path))
    connection.pragma("journal_mode", "delete")
    connection.pragma("cache_size", 5)
    connection.execute("BEGIN IMMEDIATE; UPDATE tasks SET payload = payload || 'more'").fetchall()
    copy = tmp_path / "copy" / "swarm.db"
    copy.parent.mkdir()
    for suffix in ("", "-journal"):
        shutil.copy(f"{path}{suffix}", f"{copy}{suffix}")
    connection.close()
    code, findings = examined(copy, capsys)
    assert findings["journal mode"]["level"] == "advice"
    assert (code, findings["integrity_check"]["detail"]) == (0, "ok")


def test_what_a_killed_process_has_left_is_not_changed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "swarm.db"
    subprocess.run([sys.executable, "-c", FILLING, str(path), "5"], check=True)
    assert path.with_name("swarm.db-shm").exists()
    before = path.read_bytes(), log_of(path).read_bytes()
    assert main(["doctor", str(path), "--deep"]) == 0
    assert "tasks: 100, all readable" in capsys.readouterr().out
    assert (path.read_bytes(), log_of(path).read_bytes()) == before


def test_a_database_at_work_keeps_every_byte(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = sound(tmp_path / "swarm.db")
    with open_storage(path) as storage:
        storage.store_many([TaskModel.new("more", "x" * 500) for _ in range(100)])
        before = path.read_bytes(), log_of(path).read_bytes()
        assert main(["doctor", str(path)]) == 0
        assert (path.read_bytes(), log_of(path).read_bytes()) == before
        assert "frames copied into the file" in capsys.readouterr().out
        assert len(storage.get_pending_tasks()) == 200
