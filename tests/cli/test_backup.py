"""`swarm-persistence backup` and `restore`."""

import os
from pathlib import Path

import apsw
import pytest

from swarm_persistence import TaskModel, open_storage
from swarm_persistence.cli.main import main
from swarm_persistence.engines.sql.sqlite.schema_version import status


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "swarm.db"
    with open_storage(path) as storage:
        storage.store_many([TaskModel.new("count", n) for n in range(20)])
    return path


def test_a_backup_comes_back(database: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    backup, restored = tmp_path / "backup.db", tmp_path / "restored.db"

    assert main(["backup", str(database), str(backup), "--verify"]) == 0
    assert main(["restore", str(backup), str(restored)]) == 0

    output = capsys.readouterr().out
    assert f"backup: OK – {backup} holds {database}; checked: its pages, indexes, counts and rows" in output
    assert f"restore: OK – {restored} holds {backup}" in output
    with open_storage(database) as original, open_storage(restored) as copied:
        assert copied.get_pending_tasks() == original.get_pending_tasks()


def test_nothing_is_overwritten_without_force(
    database: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    backup = tmp_path / "backup.db"
    assert main(["backup", str(database), str(backup)]) == 0

    assert main(["backup", str(database), str(backup)]) == 1
    assert main(["restore", str(backup), str(database)]) == 1
    assert capsys.readouterr().err.count("exists already") == 2

    assert main(["backup", str(database), str(backup), "--force"]) == 0
    assert main(["restore", str(backup), str(database), "--force"]) == 0


def test_a_backup_leaves_the_schema_as_it_is(database: Path, tmp_path: Path) -> None:
    backup = tmp_path / "backup.db"
    with open_storage(database) as storage:
        latest = storage.migration_status().version
        storage.migrate_to(latest - 1)

    assert main(["backup", str(database), str(backup), "--verify"]) == 0

    for path in (database, backup):
        connection = apsw.Connection(str(path))
        assert status(connection).version == latest - 1
        connection.close()
    with open_storage(backup) as storage:
        assert len(storage.get_pending_tasks()) == 20


def test_a_restore_onto_an_open_database_is_refused(
    database: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    backup = tmp_path / "backup.db"
    assert main(["backup", str(database), str(backup)]) == 0
    with open_storage(database) as storage:
        assert main(["restore", str(backup), str(database), "--force"]) == 1
        storage.store_task(TaskModel.new("later", None))
    assert "is open in this process or in another one" in capsys.readouterr().err


def test_a_database_that_is_not_there_is_an_error_and_creates_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["backup", str(tmp_path / "none.db"), str(tmp_path / "backup.db")]) == 2
    assert main(["restore", str(tmp_path / "none.db"), str(tmp_path / "backup.db")]) == 1
    errors = capsys.readouterr().err
    assert "there is no database at" in errors
    assert "there is no file" in errors
    assert list(tmp_path.iterdir()) == []


REFUSED = {
    "pipe": "is a device, a pipe or a socket",
    "loop": "Too many levels of symbolic links",
    "swarm.db-wal": "ends in -wal",
    "new.db-journal": "ends in -journal",
    "link.db": "is both the source and the target",
    "hard.db": "is both the source and the target",
    "swarm.db": "is both the source and the target",
}


@pytest.mark.parametrize("command", ["backup", "restore"])
@pytest.mark.parametrize("name", REFUSED)
def test_what_no_backup_may_replace_is_refused_also_with_force(
    database: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, name: str
) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "link.db").symlink_to(database)
    (tmp_path / "hard.db").hardlink_to(database)
    before = database.read_bytes(), sorted(os.listdir(tmp_path))

    assert main([command, str(database), str(tmp_path / name), "--force"]) == 1

    (line,) = capsys.readouterr().err.splitlines()
    assert REFUSED[name] in line
    assert (database.read_bytes(), sorted(os.listdir(tmp_path))) == before


def test_a_backup_that_a_link_leads_to_is_restored(database: Path, tmp_path: Path) -> None:
    latest, restored = tmp_path / "latest.db", tmp_path / "restored.db"
    latest.symlink_to(database)

    assert main(["restore", str(latest), str(restored)]) == 0
    with open_storage(restored) as storage:
        assert len(storage.get_pending_tasks()) == 20


def test_a_url_is_no_backup_and_its_password_is_not_repeated(
    database: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = "postgresql://user:secret@localhost/swarm"
    for command in (["backup", str(database), url], ["restore", url, str(tmp_path / "new.db")]):
        assert main(command) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "is a URL" in line
        assert "secret" not in line


@pytest.mark.parametrize("command", ["backup", "restore", "recover"])
@pytest.mark.parametrize("target", [":memory:", "sqlite:///:memory:"])
def test_memory_is_no_place_for_what_must_outlive_the_command(
    database: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    target: str,
) -> None:
    monkeypatch.chdir(database.parent)

    assert main([command, str(database), target]) in (1, 2)

    (line,) = capsys.readouterr().err.splitlines()
    assert "give the path of a" in line or "is a URL" in line
    assert os.listdir(database.parent) == ["swarm.db"]


def test_a_backup_may_have_the_name_of_memory(database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    assert main(["backup", str(database), "./:memory:"]) == 0
    assert (tmp_path / ":memory:").exists()
