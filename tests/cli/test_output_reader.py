"""Commands that print for long end as soon as nothing reads what they print, as in `… | head -1`."""

import subprocess
import sys
from pathlib import Path

import pytest

from swarm_persistence import EventModel, TaskModel, open_storage


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Give a file with an event and a task, to which nothing happens."""
    path = tmp_path / "swarm.db"
    with open_storage(path) as storage:
        storage.store_event(EventModel.new("only", None))
        storage.store_task(TaskModel(id="waits", task_type="t"))
    return path


@pytest.mark.parametrize(
    "command",
    [
        "events tail {} --follow",
        "events tail {} --follow --json",
        "events tail {} --follow --group none",
        "top {} --count 2 --every 86400",
        "top {} --json --count 2 --every 86400",
        "tasks wait {} waits",
        "demo --database {}.demo --no-page --workers 1",
    ],
)
def test_it_ends_at_once_when_its_reader_has_gone(path: Path, command: str) -> None:
    arguments = command.format(path).split()
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "swarm_persistence", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            if "wait" not in command and "none" not in command:
                process.stdout.readline()
            process.stdout.close()
            process.stdout = None
            _, error = process.communicate(timeout=60)
        finally:
            process.kill()

    assert (process.returncode, error) == (1, "")
