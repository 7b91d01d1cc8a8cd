"""The warning of task types that wait and that no live worker handles."""

import asyncio
import logging

import pytest

from swarm_persistence import AgentStatus, Storage, TaskModel
from swarm_persistence_conformance.records import an_agent
from swarm_persistence_conformance.waiting import LIMIT_SECONDS
from worker.workers import a_worker, store


@pytest.fixture(autouse=True)
def looks_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("swarm_persistence.worker.unhandled_types.SETTLING_SECONDS", 0.0)


class Warnings(logging.Handler):
    """Takes the warnings of unhandled types."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []
        self.has_come = asyncio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        """Take a warning."""
        # The worker beside it may look before this one has registered.
        if "no live worker" in record.getMessage() and "'starting'" in record.getMessage():
            self.texts.append(record.getMessage())
            self.has_come.set()


async def work(_: TaskModel) -> None:
    pass


async def warning_of(storage: Storage) -> str:
    """Return what a worker warns of that handles the type `work`."""
    warnings = Warnings()
    log = logging.getLogger("swarm_persistence")
    log.addHandler(warnings)
    try:
        async with a_worker(storage, {"work": work}, "starting"), asyncio.timeout(LIMIT_SECONDS):
            await warnings.has_come.wait()
    finally:
        log.removeHandler(warnings)
    (text,) = warnings.texts
    return text


async def test_a_worker_that_starts_warns_of_types_that_wait_and_that_no_live_worker_handles(storage: Storage) -> None:
    await store(storage, "a", task_type="misspelt")
    await store(storage, "b", "c", task_type="other")
    await store(storage, "d", task_type="blocked", dependencies=["a"])
    await store(storage, "e", task_type="dead")
    await store(storage, "f")
    dead = an_agent("dead", status=AgentStatus.ERROR, metadata={"incarnation": "1", "task_types": ["dead"]})
    await storage.store_agent(dead)
    async with a_worker(storage, {"other": work, "more": work}, "beside"):
        text = await warning_of(storage)
    assert "the type(s) 'dead', 'misspelt' wait" in text


async def test_what_a_worker_handles_is_told_by_its_agent_until_it_signs_off(storage: Storage) -> None:
    async with a_worker(storage, {"work": work, "more": work}, "agent-1"):
        stored = await storage.get_agent("agent-1")
        assert stored is not None
        assert stored.metadata["task_types"] == ["more", "work"]
    stored = await storage.get_agent("agent-1")
    assert stored is not None
    assert "task_types" not in stored.metadata


async def test_the_types_of_ready_tasks_are_found_one_after_the_other(storage: Storage) -> None:
    await store(storage, "a", "b", task_type="first")
    await store(storage, "c", task_type="ünd")
    await store(storage, "d", task_type="Second")
    watch = storage.watch_ready_tasks()
    assert sorted(await watch.types(10)) == ["Second", "first", "ünd"]
    assert len(await watch.types(2)) == 2
    watch.close()
