"""`swarm-persistence delete`: what matches filters goes, after it was confirmed."""

import json
from pathlib import Path

import pytest

from cli.commands import run_command
from swarm_persistence import open_storage
from swarm_persistence.cli.main import main
from swarm_persistence_conformance.records import a_task


@pytest.fixture
def path(tmp_path: Path) -> str:
    path = tmp_path / "swarm.db"
    with open_storage(path) as storage:
        storage.store_many([a_task(name, tags={"run": run}) for name, run in (("a", "7"), ("b", "7"), ("c", "8"))])
    return str(path)


def left_in(path: str) -> list[str]:
    with open_storage(path) as storage:
        return sorted(task.id for task in storage.get_pending_tasks())


def test_a_dry_run_tells_what_would_be_deleted(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["delete", path, "tasks", "tags.run=7", "status=pending", "status=failed", "--dry-run"]) == 0

    assert capsys.readouterr().out == "tasks to delete: 2\n"
    assert left_in(path) == ["a", "b", "c"]


def test_what_matches_is_deleted_and_told(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["delete", path, "tasks", "tags.run=7", "id.lt=b", "--yes", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"count": 1, "dry_run": False}
    assert left_in(path) == ["b", "c"]

    assert main(["delete", path, "tasks", "tags.run=7", "--yes"]) == 0
    assert capsys.readouterr().out == "tasks deleted: 1\n"
    assert left_in(path) == ["c"]


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (["tasks"], 2, "FILTER"),
        (["task_links", "id=a"], 2, "invalid choice"),
        (["tasks", "all"], 2, "'all' is not a filter, expected FIELD=VALUE"),
        (["tasks", "nothing=7"], 1, "has no field 'nothing'"),
        (["tasks", "status=gone"], 1, "task.status cannot be 'gone'"),
        (["tasks", "id=a"], 2, "pass --yes"),
    ],
)
def test_without_a_clear_order_nothing_is_deleted(path: str, arguments: list[str], code: int, reason: str) -> None:
    refused = run_command("delete", path, *arguments, stdin="y\n")

    assert (refused.returncode, reason in refused.stderr) == (code, True), refused.stderr
    assert left_in(path) == ["a", "b", "c"]


@pytest.mark.parametrize(("answer", "left"), [("", 3), ("n", 3), ("y", 1)])
def test_it_asks_before_it_deletes(
    path: str, answer: str, left: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda _: answer)

    assert main(["delete", path, "tasks", "tags.run=7"]) == (0 if left == 1 else 1)

    assert f"in {path}: 2 tasks" in capsys.readouterr().err
    assert len(left_in(path)) == left
