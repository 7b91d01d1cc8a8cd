"""`swarm-persistence top`: what it shows, in a terminal and without one."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from swarm_persistence import AgentModel, TaskModel, open_storage
from swarm_persistence.cli.main import main


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Give a file with an agent that has completed one task, holds one and leaves one."""
    path = tmp_path / "swarm.db"
    with open_storage(path) as storage:
        storage.store_agent(AgentModel(id="worker-1", name="worker", agent_type="worker"))
        for _ in range(3):
            storage.store_task(TaskModel.new("index [module]", None))
        first = storage.claim_next_task("worker-1", lease=60)
        assert first is not None
        storage.complete_task(first)
        storage.claim_next_task("worker-1", lease=60)
    return path


def test_without_a_terminal_it_looks_once(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["top", str(path)]) == 0

    output = capsys.readouterr().out
    assert "index [module]" in output
    assert "1 pending, 1 assigned, 1 completed" in output
    assert "worker-1" in output


def test_json_is_one_object_for_each_look(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["top", str(path), "--json", "--count", "2"]) == 0

    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    for look in (first, second):
        (of_type,) = look["types"]
        counts = {name: of_type[name] for name in ("task_type", "ready", "held", "completed", "failed")}
        assert counts == {"task_type": "index [module]", "ready": 1, "held": 1, "completed": 1, "failed": 0}
        assert [(agent["id"], agent["leases"]) for agent in look["agents"]] == [("worker-1", 1)]


def test_in_a_terminal_it_follows_the_swarm_until_it_is_stopped(path: Path) -> None:
    terminal, inside = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "swarm_persistence", "top", str(path)],
        stdin=inside,
        stdout=inside,
        stderr=subprocess.PIPE,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "120", "LINES": "40"},
    )
    os.close(inside)
    try:
        assert "1 pending" in read_until(terminal, "worker-1")
        with open_storage(path) as storage:
            storage.store_task(TaskModel.new("index [module]", None))
        read_until(terminal, "2 pending")
        process.send_signal(signal.SIGINT)
        read_until(terminal, "\x1b[?1049l")  # the terminal's own screen is back
        assert process.wait(timeout=60) == 130
    finally:
        process.kill()
        process.wait()
        os.close(terminal)
        assert process.stderr is not None
        process.stderr.close()


def read_until(terminal: int, text: str) -> str:
    """Return what is shown until a text is."""
    seen = ""
    deadline = time.monotonic() + 60
    while text not in seen:
        assert select.select([terminal], [], [], max(deadline - time.monotonic(), 0))[0], f"{text!r} not in {seen!r}"
        seen += os.read(terminal, 65_536).decode()
    return seen
