"""A worker's ways, in this process."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from swarm_persistence import AgentModel, AgentStatus, MemoryStorage, Storage, TaskModel, TaskStatus
from swarm_persistence.demo import worker as worker_module
from swarm_persistence.demo.stopping import Stopping
from swarm_persistence.demo.vocabulary import (
    COORDINATOR_ID,
    DURATION,
    FINDING,
    MEASURE_MODULE,
    SUM_PACKAGE,
    TASK_COMPLETED,
    TASK_FAILED,
    WORKER,
    WORKER_STOPPED,
    WRITE_REPORT,
)
from swarm_persistence.demo.worker import DemoWorker


@pytest.fixture
async def storage() -> AsyncIterator[Storage]:
    async with MemoryStorage() as storage:
        yield storage


class Bench:
    """A worker, and the means to run it until something has happened."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self.agent = AgentModel.new("worker-1", WORKER)
        self.stopping = Stopping()
        self.worker = DemoWorker(storage, self.agent, self.stopping)

    async def run_until(self, event_type: str, times: int = 1) -> None:
        async with asyncio.timeout(20):
            running = asyncio.create_task(self.worker.run())
            while len(await self.storage.get_events_by_type(event_type, 100)) < times:
                await asyncio.wait({running}, timeout=0.01)
                assert not running.done() or running.exception() is None
            self.stopping.request()
            await running


def module_task(path: Path) -> TaskModel:
    return TaskModel.new(MEASURE_MODULE, {"module": "m", "path": str(path)})


async def test_what_came_of_a_task_is_stored_with_all_that_tells_of_it(storage: Storage, tmp_path: Path) -> None:
    source = tmp_path / "m.py"
    source.write_text("def f():\n    pass\n")
    task = module_task(source)
    await storage.store_task(task)
    bench = Bench(storage)
    await bench.run_until(TASK_COMPLETED)
    stored = await storage.get_task(task.id)
    assert stored is not None
    assert stored.status is TaskStatus.COMPLETED
    assert stored.result is not None
    assert (stored.result["lines"], stored.result["functions"]) == (2, 1)
    assert stored.completed_at is not None
    (message,) = await storage.get_unread_messages(COORDINATOR_ID)
    assert (message.message_type, message.content["result"]) == (FINDING, stored.result)
    (metric,) = await storage.get_metrics_by_agent(bench.agent.id, DURATION)
    assert metric.tags["task_id"] == task.id


async def test_a_worker_registers_and_signs_off(storage: Storage) -> None:
    bench = Bench(storage)
    bench.stopping.request()
    await bench.run_until(WORKER_STOPPED)
    (agent,) = await storage.list_agents()
    assert agent.status is AgentStatus.SHUTDOWN


async def test_a_task_that_fails_is_tried_again_and_then_given_up(storage: Storage) -> None:
    task = TaskModel.new(MEASURE_MODULE, {"no": "path"})
    task.max_retries = 2
    await storage.store_task(task)
    await Bench(storage).run_until(TASK_FAILED, times=3)
    stored = await storage.get_task(task.id)
    assert stored is not None
    assert (stored.status, stored.retry_count) == (TaskStatus.FAILED, 2)
    assert stored.error is not None
    assert stored.error.startswith("KeyError: 'module'")
    assert await storage.get_unread_messages(COORDINATOR_ID) == []


async def test_the_result_of_a_task_that_was_taken_back_does_not_count(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = TaskModel.new(MEASURE_MODULE, {})
    await storage.store_task(task)
    bench = Bench(storage)
    given = []

    async def lose_and_go_on(running: TaskModel, _results: list[Any]) -> Any:
        given.append(running.id)
        if len(given) == 1:
            # What the coordinator does with a worker that it takes for dead.
            await storage.repository(TaskModel).update(_given_back(await storage.get_task(running.id)))
            return "late"
        return "in time"

    monkeypatch.setattr(worker_module, "perform", lose_and_go_on)
    await bench.run_until(TASK_COMPLETED)
    stored = await storage.get_task(task.id)
    assert stored is not None
    assert (stored.status, stored.result) == (TaskStatus.COMPLETED, "in time")
    assert given == [task.id, task.id]
    assert len(await storage.get_unread_messages(COORDINATOR_ID)) == 1


async def test_a_task_is_summed_from_the_results_of_its_dependencies(storage: Storage, tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.py", "b.py")]
    modules = [module_task(path) for path in paths]
    package = TaskModel.new(SUM_PACKAGE, {})
    package.dependencies = [task.id for task in modules]
    report = TaskModel.new(WRITE_REPORT, {})
    report.dependencies = [package.id]
    for path in paths:
        path.write_text("x = 1\n")
    await storage.store_many([*modules, package, report])
    await Bench(storage).run_until(TASK_COMPLETED, times=4)
    stored = await storage.get_task(report.id)
    assert stored is not None
    assert stored.result is not None
    assert (stored.result["modules"], stored.result["lines"]) == (2, 2)


def _given_back(task: TaskModel | None) -> TaskModel:
    assert task is not None
    task.status, task.assigned_to, task.started_at = TaskStatus.PENDING, None, None
    return task
