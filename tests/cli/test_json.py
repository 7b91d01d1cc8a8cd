"""`--json` of the commands that work on a whole database: one object on standard output, and nothing else."""

import json
from pathlib import Path
from typing import Any

import pytest

from cli.commands import run_command
from cli.test_help import ACTIONS, COMMANDS
from swarm_persistence import TaskModel, open_storage
from swarm_persistence.cli.main import main
from swarm_persistence.engines.sql.sqlite.migrations import LATEST, MIGRATIONS

OF_PEOPLE = {"demo", "worker", "serve", "mcp", "completion"}
"""These print no records: they run until they are stopped, or print a shell's script."""


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "swarm.db"
    with open_storage(path) as storage:
        storage.store_many([TaskModel.new("count", n) for n in range(5)])
    return path


def object_of(*arguments: str | Path) -> Any:
    done = run_command(*arguments, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    (line,) = done.stdout.splitlines()
    return json.loads(line)


@pytest.mark.parametrize("command", sorted({*COMMANDS} - OF_PEOPLE))
def test_each_command_takes_it(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    for action in ACTIONS.get(command, [None]):
        with pytest.raises(SystemExit):
            main([command, *([action] if action else []), "--help"])
        assert "--json" in capsys.readouterr().out, action


def test_a_migration_tells_its_steps(database: Path) -> None:
    plan = object_of("migrate", database, "--to", str(LATEST - 1), "--plan")
    back = object_of("migrate", database, "--to", str(LATEST - 1))
    forwards = object_of("migrate", database)
    again = object_of("migrate", database)

    assert plan == back
    assert (back["database"], back["from"], back["to"]) == (str(database), LATEST, LATEST - 1)
    (step,) = forwards["steps"]
    assert (step["version"], step["name"], step["is_upwards"]) == (LATEST, MIGRATIONS[-1].name, True)
    assert step["parts"][0]["statements"]
    assert (again["from"], again["to"], again["steps"]) == (LATEST, LATEST, [])


def test_a_copy_tells_what_it_copied(database: Path, tmp_path: Path) -> None:
    target = tmp_path / "copy.jsonl"

    told = object_of("copy", database, target)

    assert (told["source"], told["target"], told["equal"]) == (str(database), str(target), True)
    (tasks,) = (each for each in told["records"] if each["kind"] == "task")
    assert (tasks["copied"], tasks["equal"], tasks["source"]) == (5, True, tasks["target"])


def test_a_backup_and_its_restoration_tell_their_files(database: Path, tmp_path: Path) -> None:
    backup, restored = tmp_path / "backup.db", tmp_path / "restored.db"

    made = object_of("backup", database, backup, "--verify")
    assert made == {
        "database": str(database), "target": str(backup), "verified": True, "bytes": backup.stat().st_size
    }  # fmt: skip
    assert object_of("restore", backup, restored) == {"backup": str(backup), "target": str(restored)}


def test_checksums_tell_the_file(database: Path) -> None:
    assert object_of("checksums", database) == {"database": str(database), "checksums": True}


def test_a_failure_prints_no_object(tmp_path: Path) -> None:
    for arguments in (("copy", "missing.db", "to.db"), ("backup", "missing.db", "b.db"), ("checksums", "missing.db")):
        done = run_command(*arguments, "--json", cwd=tmp_path)
        assert done.returncode != 0
        assert done.stdout == ""
        assert "missing.db" in done.stderr
