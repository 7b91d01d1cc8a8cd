"""How a worker finds its next task."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from swarm_persistence import MemoryStorage, Storage, TaskModel, TaskPriority, TaskStatus
from swarm_persistence.clock import now
from swarm_persistence.demo.queue import Queue
from swarm_persistence.demo.vocabulary import MEASURE_MODULE, SUM_PACKAGE, TASK_STARTED


@pytest.fixture
async def storage() -> AsyncIterator[Storage]:
    async with MemoryStorage() as storage:
        yield storage


def module(name: str) -> TaskModel:
    return TaskModel.new(MEASURE_MODULE, {"module": name}, TaskPriority.HIGH)


def package(*modules: TaskModel) -> TaskModel:
    task = TaskModel.new(SUM_PACKAGE, {}, TaskPriority.MEDIUM)
    task.dependencies = [module.id for module in modules]
    return task


async def test_a_started_task_is_running_and_told_of(storage: Storage) -> None:
    await storage.store_task(module("abc"))
    started = await Queue(storage, "worker", 0).start_next_task()
    assert started is not None
    assert started == await storage.get_task(started.id)
    assert (started.status, started.assigned_to) == (TaskStatus.RUNNING, "worker")
    assert started.started_at is not None
    (event,) = await storage.get_events_by_type(TASK_STARTED, 10)
    assert (event.agent_id, event.data) == ("worker", {"task_id": started.id})


async def test_a_task_waits_for_its_dependencies(storage: Storage) -> None:
    first = module("abc")
    waiting = package(first)
    await storage.store_many([waiting, first])
    queue = Queue(storage, "worker", 0)
    started = await queue.start_next_task()
    assert started is not None
    assert started.id == first.id
    assert await queue.start_next_task() is None
    started.status, started.completed_at = TaskStatus.COMPLETED, now()
    await storage.update_task(started)
    following = await queue.start_next_task()
    assert following is not None
    assert following.id == waiting.id


async def test_a_ready_task_is_found_behind_many_that_wait(storage: Storage) -> None:
    missing = module("never stored")
    ready = package()
    await storage.store_many([*(package(missing) for _ in range(50)), ready])
    started = await Queue(storage, "worker", 3).start_next_task()
    assert started is not None
    assert started.id == ready.id


async def test_tasks_of_others_are_left_alone(storage: Storage) -> None:
    await storage.store_task(TaskModel.new("analyze", {}, TaskPriority.CRITICAL))
    assert await Queue(storage, "worker", 0).start_next_task() is None


async def test_workers_of_different_positions_look_at_different_tasks(storage: Storage) -> None:
    tasks = [module(str(number)) for number in range(10)]
    await storage.store_many(tasks)
    started = [await Queue(storage, f"worker-{position}", position).start_next_task() for position in (0, 3)]
    assert [task.id for task in started if task] == [tasks[0].id, tasks[4].id]


async def test_every_task_is_started_once_however_many_ask(storage: Storage) -> None:
    tasks = [module(str(number)) for number in range(60)]
    await storage.store_many(tasks)

    async def take_all(position: int) -> list[str]:
        queue = Queue(storage, f"worker-{position}", position)
        taken = []
        while task := await queue.start_next_task():
            taken.append(task.id)
        return taken

    taken = [id for ids in await asyncio.gather(*map(take_all, range(4))) for id in ids]
    assert sorted(taken) == sorted(task.id for task in tasks)
