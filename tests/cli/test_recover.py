"""`swarm-persistence recover`: what it refuses, what it writes, and its exit codes."""

import json
import os
import shutil
from pathlib import Path

import apsw
import pytest

from cli.test_doctor_logs import fill, log_of, sound
from swarm_persistence import TaskModel, open_storage
from swarm_persistence.cli.main import main

PAGE = 4096


def damaged(path: Path) -> Path:
    """Put bytes that are not UTF-8 into one of a hundred tasks."""
    sound(path)
    connection = apsw.Connection(str(path))
    text = "UPDATE tasks SET payload = CAST(x'22ff787822' AS TEXT) WHERE sequence = 7"
    connection.execute(text).fetchall()
    connection.close()
    return path


def tasks_in(path: Path) -> int:
    with open_storage(path) as storage:
        return storage.repository(TaskModel).count()


def test_all_of_a_sound_file_is_recovered(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, target = sound(tmp_path / "swarm.db"), tmp_path / "new.db"
    assert main(["recover", str(path), f"sqlite:///{target}"]) == 0
    assert "check: OK" in capsys.readouterr().out
    assert tasks_in(target) == 100
    assert target.stat().st_mode & 0o777 == 0o600
    assert {each.name for each in tmp_path.iterdir()} == {"swarm.db", "new.db"}


def test_what_is_lost_is_told_and_written_down(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, target = damaged(tmp_path / "swarm.db"), tmp_path / "new.db"
    assert main(["recover", str(path), str(target)]) == 1
    printed = capsys.readouterr().out
    assert "check: INCOMPLETE – 99 rows recovered, 1 lost" in printed
    assert "payload holds bytes that are not UTF-8" in printed
    losses = target.with_name("new.db.lost.jsonl")
    (line,) = losses.read_text().splitlines()
    assert json.loads(line)["columns"]["payload"].startswith('"\\xffxx')
    assert losses.stat().st_mode & 0o777 == 0o600
    assert tasks_in(target) == 99


def test_the_outcome_can_be_had_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = damaged(tmp_path / "swarm.db")
    assert main(["recover", str(path), str(tmp_path / "new.db"), "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["complete"] is False
    assert {each["table"]: each["recovered"] for each in report["tables"]}["tasks"] == 99
    assert len(report["losses"]) == 1


def test_records_can_go_into_a_file_of_json_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, target = damaged(tmp_path / "swarm.db"), tmp_path / "new.jsonl"
    assert main(["recover", str(path), str(target)]) == 1
    assert len(target.read_text().splitlines()) == 1 + 99
    assert (tmp_path / "new.jsonl.lost.jsonl").exists()


@pytest.mark.parametrize("name", ["new.db", "new.db.lost.jsonl", "new.db-wal", "new.db-shm", "new.db-journal"])
def test_a_file_that_exists_is_not_overwritten(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = sound(tmp_path / "swarm.db")
    (tmp_path / name).write_text("precious")
    assert main(["recover", str(path), str(tmp_path / "new.db")]) == 2
    assert "exists already" in capsys.readouterr().err
    assert (tmp_path / name).read_text() == "precious"


def test_a_file_in_use_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = sound(tmp_path / "swarm.db")
    with open_storage(path) as storage:
        assert main(["recover", str(path), str(tmp_path / "new.db")]) == 2
        assert "end them first" in capsys.readouterr().err
        storage.store_task(TaskModel.new("after", {}))
    assert {each.name for each in tmp_path.iterdir()} == {"swarm.db"}


@pytest.mark.parametrize("content", [None, b"", b"notes\n" * 2000])
def test_what_holds_nothing_of_ours_is_refused(
    content: bytes | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "swarm.db"
    if content is not None:
        path.write_bytes(content)
    assert main(["recover", str(path), str(tmp_path / "new.db")]) in (1, 2)
    printed = capsys.readouterr().err
    assert "there is no database at" in printed or "is not an SQLite database" in printed
    assert not (tmp_path / "new.db").exists()


def test_an_empty_database_of_ours_is_recovered(tmp_path: Path) -> None:
    path = sound(tmp_path / "swarm.db", tasks=0)
    assert main(["recover", str(path), str(tmp_path / "new.db")]) == 0
    assert tasks_in(tmp_path / "new.db") == 0


def test_a_log_without_its_file_is_recovered(tmp_path: Path) -> None:
    path = tmp_path / "swarm.db"
    fill(path, 3)
    path.unlink()
    before = log_of(path).read_bytes()
    assert main(["recover", str(path), str(tmp_path / "new.db")]) == 0
    assert log_of(path).read_bytes() == before
    assert tasks_in(tmp_path / "new.db") == 60


def test_the_log_of_another_database_is_read_only_if_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "other").mkdir()
    fill(tmp_path / "other" / "other.db", 3)
    path = sound(tmp_path / "swarm.db")
    shutil.copy(log_of(tmp_path / "other" / "other.db"), log_of(path))
    assert main(["recover", str(path), str(tmp_path / "new.db")]) == 2
    assert "say --log ignore" in capsys.readouterr().err
    assert main(["recover", str(path), str(tmp_path / "new.db"), "--log", "ignore"]) == 0
    assert tasks_in(tmp_path / "new.db") == 100


def test_a_file_that_only_its_owner_may_write_is_read_by_a_link(tmp_path: Path) -> None:
    path = sound(tmp_path / "swarm.db")
    path.chmod(0o400)
    link = tmp_path / "link.db"
    os.symlink(path, link)
    assert main(["recover", str(link), str(tmp_path / "new.db")]) == 0
    assert tasks_in(tmp_path / "new.db") == 100


def test_a_new_file_is_sound_before_it_is_opened(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, target = sound(tmp_path / "swarm.db"), tmp_path / "new.db"
    assert main(["recover", str(path), str(target)]) == 0
    assert main(["doctor", str(target)]) == 0, capsys.readouterr().out


def test_a_file_of_which_sqlite_gets_no_lock_is_recovered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A read-only file system: SQLite opens the file for reading instead, and no lock can be had of it."""
    path, target = sound(tmp_path / "swarm.db"), tmp_path / "new.db"
    opens = apsw.VFSFile

    def open_for_reading(vfs: str, name: str, flags: list[int]) -> apsw.VFSFile:
        asked = [flags[0] & ~apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_READONLY, 0]
        file = opens(vfs, name, asked)
        flags[1] = asked[1]
        return file

    monkeypatch.setattr(apsw, "VFSFile", open_for_reading)
    assert main(["recover", str(path), str(target)]) == 0
    assert tasks_in(target) == 100


@pytest.mark.parametrize("target", ["swarm.db-wal", "new.db-shm", b"\xff.db"])
def test_a_name_that_no_new_database_may_have_is_refused(
    target: str | bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = sound(tmp_path / "swarm.db")
    assert main(["recover", str(path), os.path.join(tmp_path, os.fsdecode(target))]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "SQLite" in line
    assert os.listdir(tmp_path) == ["swarm.db"]


def test_several_damaged_frames_in_a_row_do_not_hide_the_commits_behind_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, target = tmp_path / "swarm.db", tmp_path / "new.db"
    fill(path, 40)  # the damage must not lie in the first commit, which makes the tables
    with log_of(path).open("r+b") as log:
        frames = log_of(path).stat().st_size // (24 + PAGE)
        log.seek(32 + (frames * 2 // 3) * (24 + PAGE))
        log.write(bytes(4 * PAGE))

    assert main(["doctor", str(path)]) == 1
    assert "SQLite drops" in capsys.readouterr().out
    assert main(["recover", str(path), str(target)]) == 1
    assert "of the log is damaged" in capsys.readouterr().out
