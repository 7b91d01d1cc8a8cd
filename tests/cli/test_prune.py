"""`swarm-persistence prune`: what it deletes, and what a dry run tells."""

import json
from datetime import timedelta
from pathlib import Path

import pytest

from swarm_persistence import EventModel, TaskModel, TaskStatus, open_storage
from swarm_persistence.cli.main import main
from swarm_persistence.clock import now


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Give a file with an old task, an old event and a young event."""
    path = tmp_path / "swarm.db"
    old = now() - timedelta(days=40)
    with open_storage(path) as storage:
        storage.store_task(TaskModel(id="t", task_type="t", status=TaskStatus.COMPLETED, completed_at=old))
        storage.store_event(EventModel(id="old", event_type="e", timestamp=old))
        storage.store_event(EventModel(id="young", event_type="e"))
    return path


def events_in(path: Path) -> list[str]:
    with open_storage(path) as storage:
        return [event.id for event in storage.repository(EventModel).find_all()]


def test_a_dry_run_counts_and_deletes_nothing(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prune", str(path), "--older-than", "30d", "--dry-run"]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == ["tasks to delete: 1", "events to delete: 1", "messages to delete: 0"]
    assert events_in(path) == ["old", "young"]


def test_what_is_old_is_deleted_and_counted_as_json(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prune", str(path), "--older-than", "960h", "--json"]) == 0

    counts = json.loads(capsys.readouterr().out)
    assert (counts["tasks"], counts["events"], counts["metrics"]) == (1, 1, 0)
    assert events_in(path) == ["young"]


def test_only_the_chosen_kinds_go(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prune", str(path), "--older-than", "0s", "--only", "events"]) == 0

    assert capsys.readouterr().out == "events deleted: 2\n"
    with open_storage(path) as storage:
        assert storage.get_task("t") is not None


def test_only_tasks_of_the_chosen_statuses_go(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["prune", str(path), "--older-than", "30d", "--only", "tasks", "--task-status"]

    assert main([*arguments, "failed", "--task-status", "cancelled"]) == 0
    assert main([*arguments, "completed"]) == 0

    assert capsys.readouterr().out == "tasks deleted: 0\ntasks deleted: 1\n"


@pytest.mark.parametrize("age", ["30", "d", "-1d", "1.5h", "3 weeks", "٣d", ""])
def test_what_is_no_age_is_refused(age: str, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"^2$"):
        main(["prune", str(path), f"--older-than={age}"])

    assert f"argument --older-than: {age!r} is not an age" in capsys.readouterr().err
