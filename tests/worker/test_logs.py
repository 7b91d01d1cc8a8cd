"""Facts about the worker's log: which agent did what, to which task, at which attempt."""

import ast
import logging
from pathlib import Path
from typing import Any

import pytest

import swarm_persistence.worker
from swarm_persistence import AgentModel, MemoryStorage, TaskModel, Worker

FIELDS = ("task_id", "task_type", "agent_id", "attempt")


async def logged(caplog: pytest.LogCaptureFixture, handler: Any, *tasks: TaskModel) -> list[logging.LogRecord]:
    """Return what a worker logs while it does these tasks."""
    caplog.set_level(logging.DEBUG, "swarm_persistence")
    async with MemoryStorage() as storage:
        await storage.store_tasks(tasks)
        agent = AgentModel(id="agent-1", name="agent-1", agent_type="worker")
        async with Worker(storage, agent, {"work": handler}, heeds_signals=False) as worker:
            await worker.run_until_idle()
    return [record for record in caplog.records if record.name.startswith("swarm_persistence.worker")]


def fields(record: logging.LogRecord) -> tuple[Any, ...]:
    return tuple(getattr(record, name) for name in FIELDS)


async def test_the_start_and_the_end_of_a_task_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def work(_: TaskModel) -> None:
        pass

    start, end = await logged(caplog, work, TaskModel(id="task-1", task_type="work"))

    assert (start.levelno, end.levelno) == (logging.DEBUG, logging.INFO)
    assert start.getMessage() == "task 'task-1' (work) starts"
    assert end.getMessage().startswith("task 'task-1' (work) is completed after 0.")
    assert fields(start) == fields(end) == ("task-1", "work", "agent-1", 1)


async def test_the_records_of_a_failure_tell_its_attempt(caplog: pytest.LogCaptureFixture) -> None:
    async def work(_: TaskModel) -> None:
        raise ValueError("spoilt")

    task = TaskModel(id="task-1", task_type="work", retry_count=2, max_retries=2)
    start, failure, end = await logged(caplog, work, task)

    assert (failure.levelno, failure.getMessage()) == (logging.WARNING, "the handler of task 'task-1' (work) failed")
    assert end.getMessage().startswith("task 'task-1' (work) is failed after 0.")
    assert {fields(record) for record in (start, failure, end)} == {("task-1", "work", "agent-1", 3)}


async def test_a_record_about_no_task_names_the_agent(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "swarm_persistence")
    async with MemoryStorage() as storage:
        agent = AgentModel(id="agent-1", name="agent-1", agent_type="worker")
        async with Worker(storage, agent, {"work": print}, heeds_signals=False):
            await storage.delete_agent("agent-1")

    (record,) = [each for each in caplog.records if "was deleted" in each.getMessage()]
    assert fields(record) == (None, None, "agent-1", None)


def test_no_module_of_the_worker_logs_without_the_fields() -> None:
    modules = [*Path(swarm_persistence.worker.__path__[0]).glob("*.py")]
    calls = [
        f"{path.name}:{node.lineno}"
        for path in modules
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "_log"
        and node.func.attr != "isEnabledFor"
    ]

    assert calls == []
