"""`swarm-persistence worker`: does tasks with the handlers of a module, and says in one line what is wrong."""

import os
import re
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cli.commands import run_command
from polling import block_until
from swarm_persistence import AgentStatus, TaskModel, TaskPriority, TaskStatus, open_storage

TASKS = """
from swarm_persistence import EventModel

async def greet(task):
    return f"hello {task.payload}"

def shout(task, context):
    context.storage.store_event(EventModel.new("shouted", task.payload).with_agent(context.agent.id))
    return task.payload.upper()

handlers = {"greet": greet, "shout": shout}

def make():
    return handlers

def fail():
    raise ValueError("no handlers today")

wrong = {"greet": lambda: None}
number = 7
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Give a directory with a module of handlers, and one that cannot be imported."""
    (tmp_path / "my_tasks.py").write_text(TASKS)
    (tmp_path / "broken.py").write_text("import my_tasks\nraise RuntimeError('not\\nready')\n")
    return tmp_path


@pytest.mark.parametrize("name", ["my_tasks:handlers", "my_tasks:make"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_it_does_tasks_until_it_is_told_to_stop(directory: Path, name: str, number: signal.Signals, code: int) -> None:
    with open_storage(directory / "swarm.db") as storage:
        storage.store_tasks(
            [
                TaskModel.new(
                    "greet",
                    "you",
                ),
                TaskModel.new("shout", "hey"),
                TaskModel.new("other", 1),
            ]
        )
        options = ["--database", "swarm.db", "--name", "worker-1", "--type", "tester", "--concurrency=2", "--lease=5"]
        process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "swarm_persistence", "worker", name, *options],
            cwd=directory,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONSAFEPATH": "1"},
        )
        done = {}
        for task in storage.watch_tasks():
            if task.status is TaskStatus.COMPLETED:
                done[task.task_type] = (task.result, task.assigned_to)
            if len(done) == 2:
                break
        process.send_signal(number)
        output, errors = process.communicate(timeout=60)
        agent = storage.get_agent("worker-1")
        assert len(storage.get_events_by_agent("worker-1", 10)) == 1

    assert done == {"greet": ("hello you", "worker-1"), "shout": ("HEY", "worker-1")}
    assert process.returncode == code
    # The last one may have been seen as completed before the worker has heard so.
    lines = [line for line in errors.splitlines() if " INFO worker 'worker-1' stops; 1 running task(s) " not in line]
    ends = [re.search(r" INFO task '.*' \((\w+)\) is completed after ", line) for line in lines]
    assert sorted(end[1] if end else "" for end in ends) == ["greet", "shout"], errors
    assert output.splitlines() == [
        f"database: {directory / 'swarm.db'}",
        "worker worker-1: up to 2 at once of greet, shout",
        "stopped: 2 completed",
    ]
    assert agent is not None
    assert (agent.agent_type, agent.capabilities, agent.status) == ("tester", ["greet", "shout"], AgentStatus.SHUTDOWN)
    assert agent.metadata["pid"] == process.pid


def test_it_gets_what_its_capabilities_allow_and_first_what_has_waited(directory: Path) -> None:
    tasks = [
        TaskModel(id="new", task_type="greet", priority=TaskPriority.HIGH),
        TaskModel(
            id="old",
            task_type="greet",
            priority=TaskPriority.LOW,
            required_capabilities=("gpu",),
            created_at=datetime.now(UTC) - timedelta(days=1),
        ),
    ]
    with open_storage(directory / "swarm.db") as storage:
        storage.store_tasks(tasks)
        options = ["--database", "swarm.db", "--capability", "gpu", "--ageing=60", "--concurrency=1"]
        process = subprocess.Popen(
            [sys.executable, "-m", "swarm_persistence", "worker", "my_tasks:handlers", *options],
            cwd=directory,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONSAFEPATH": "1"},
        )
        try:
            old, new = [storage.wait_for_task(id, timeout=60) for id in ("old", "new")]
        finally:
            process.terminate()
            process.wait(60)

    assert (old.status, new.status) == (TaskStatus.COMPLETED, TaskStatus.COMPLETED)
    assert old.completed_at is not None
    assert new.started_at is not None
    assert old.completed_at <= new.started_at


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("my_tasks", "'my_tasks' names no handlers, expected MODULE:HANDLERS, as in my_swarm.tasks:handlers"),
        (":handlers", "':handlers' names no handlers, expected MODULE:HANDLERS, as in my_swarm.tasks:handlers"),
        ("none:handlers", "there is no module 'none', neither here nor installed"),
        ("my_tasks:none", "'my_tasks' has no 'none'"),
        ("broken:handlers", "'broken' cannot be imported: RuntimeError: not ready (broken.py:2)"),
        ("my_tasks:fail", "my_tasks:fail() failed: ValueError: no handlers today (my_tasks.py:17)"),
        ("my_tasks:number", "my_tasks:number: handlers is 7, expected a dict from task types to functions, not empty"),
    ],
)
def test_handlers_that_cannot_be_had_are_one_line(directory: Path, name: str, line: str) -> None:
    done = run_command("worker", name, cwd=directory)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"swarm-persistence: {line}\n")
    assert not (directory / "swarm.db").exists()


def test_a_handler_that_takes_no_task_is_named(directory: Path) -> None:
    done = run_command("worker", "my_tasks:wrong", cwd=directory)
    assert done.returncode == 2
    assert "handlers['greet'] is <function" in done.stderr
    assert "which takes (); expected (task) or (task, context)" in done.stderr


@pytest.mark.parametrize(
    "option", ["--concurrency=0", "--lease=0", "--lease=nan", "--drain=-1", "--timeout=soon", "--ageing=0"]
)
def test_a_number_that_makes_no_sense_is_refused(directory: Path, option: str) -> None:
    done = run_command("worker", "my_tasks:handlers", option, cwd=directory)
    name, _, value = option.partition("=")
    assert done.returncode == 2
    assert f"argument {name}: '{value}' is not a" in done.stderr


def test_a_database_in_memory_is_refused(directory: Path) -> None:
    done = run_command("worker", "my_tasks:handlers", "--database", ":memory:", cwd=directory)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "no task would come" in done.stderr


def test_it_prunes_what_is_older_than_its_retention(directory: Path) -> None:
    with open_storage(directory / "swarm.db") as storage:
        ended = storage.store_task(TaskModel.new("other", 1))
        storage.cancel_task(ended.id)
        command = [sys.executable, "-m", "swarm_persistence", "worker", "my_tasks:handlers", "--database", "swarm.db"]
        with subprocess.Popen([*command, "--retention", "1s"], cwd=directory) as worker:
            try:
                block_until(lambda: storage.get_task(ended.id) is None, pause_seconds=0.05)
            finally:
                worker.kill()


@pytest.mark.parametrize(("age", "code", "reason"), [("30", 2, "'30' is not an age"), ("0s", 1, "retention is 0.0")])
def test_a_retention_that_is_no_age_is_refused(directory: Path, age: str, code: int, reason: str) -> None:
    refused = run_command("worker", "my_tasks:handlers", "--retention", age, cwd=directory)

    assert (refused.returncode, reason in refused.stderr) == (code, True)
