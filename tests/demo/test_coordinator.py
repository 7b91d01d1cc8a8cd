"""The coordinator's ways, in this process."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from swarm_persistence import (
    AgentModel,
    AgentStatus,
    MemoryStorage,
    MessageModel,
    SqliteStorage,
    Storage,
    TaskModel,
    TaskStatus,
)
from swarm_persistence.clock import ManualClock, use_clock
from swarm_persistence.demo.coordinator import Coordinator
from swarm_persistence.demo.failure import DemoError
from swarm_persistence.demo.fleet import Fleet
from swarm_persistence.demo.library import Module
from swarm_persistence.demo.liveness import SILENCE_SECONDS, process_metadata
from swarm_persistence.demo.plan import TaskPlan, make_plan
from swarm_persistence.demo.stopping import Stopping
from swarm_persistence.demo.vocabulary import (
    COORDINATOR,
    COORDINATOR_ID,
    FINDING,
    RUN_STOPPED,
    WORKER,
    WORKER_LOST,
)
from swarm_persistence_conformance.records import status_of

MODULES = [Module("abc", "(top level)", "/lib/abc.py", 10, 1), Module("json", "json", "/lib/json/__init__.py", 20, 1)]


@pytest.fixture
async def storage() -> AsyncIterator[Storage]:
    async with MemoryStorage() as storage:
        yield storage


def coordinator_of(storage: Storage, plan: TaskPlan, target: str = "unused") -> Coordinator:
    return Coordinator(storage, plan, Fleet(target), Stopping(), lambda _done: None)


async def test_preparing_twice_stores_each_task_once(storage: Storage) -> None:
    for _ in range(2):
        await coordinator_of(storage, make_plan(MODULES)).prepare()
    assert len(await storage.get_pending_tasks()) == 5


async def test_a_completed_task_of_an_earlier_run_stays_completed(storage: Storage) -> None:
    plan = make_plan(MODULES)
    plan.tasks[0].status = TaskStatus.COMPLETED
    await storage.store_task(plan.tasks[0])
    coordinator = coordinator_of(storage, make_plan(MODULES))
    await coordinator.prepare()
    assert coordinator.completed == 1
    assert await status_of(storage, plan.tasks[0].id) is TaskStatus.COMPLETED


async def test_pending_tasks_of_another_plan_are_cancelled_and_come_back_with_it(storage: Storage) -> None:
    all_of_it, part = make_plan(MODULES), make_plan(MODULES[:1])
    await coordinator_of(storage, all_of_it).prepare()
    await coordinator_of(storage, part).prepare()
    assert await status_of(storage, all_of_it.report.id) is TaskStatus.CANCELLED
    assert {task.id for task in await storage.get_pending_tasks()} == part.ids
    await coordinator_of(storage, make_plan(MODULES)).prepare()
    assert {task.id for task in await storage.get_pending_tasks()} == all_of_it.ids


async def test_tasks_that_are_not_the_demos_are_left_alone(storage: Storage) -> None:
    task = TaskModel.new("analyze", {})
    await storage.store_task(task)
    await coordinator_of(storage, make_plan(MODULES)).prepare()
    assert await status_of(storage, task.id) is TaskStatus.PENDING


async def test_a_failed_task_is_tried_anew_by_the_next_run(storage: Storage) -> None:
    task = make_plan(MODULES).tasks[0]
    task.status, task.error, task.retry_count = TaskStatus.FAILED, "KeyError: 'module'", 3
    await storage.store_task(task)
    await coordinator_of(storage, make_plan(MODULES)).prepare()
    stored = await storage.get_task(task.id)
    assert stored is not None
    assert (stored.status, stored.error, stored.retry_count) == (TaskStatus.PENDING, None, 0)


async def test_messages_are_read_and_marked(storage: Storage) -> None:
    plan = make_plan(MODULES)
    plan.tasks[0].status = TaskStatus.COMPLETED
    await storage.store_task(plan.tasks[0])
    await storage.store_message(MessageModel.new("worker", COORDINATOR_ID, FINDING, {"task_id": plan.tasks[0].id}))
    await coordinator_of(storage, make_plan(MODULES)).prepare()
    assert await storage.get_unread_messages(COORDINATOR_ID) == []


async def test_the_tasks_of_a_dead_worker_are_taken_back(storage: Storage) -> None:
    dead = AgentModel.new("worker-1", WORKER)
    dead.metadata = {**process_metadata(), "pid": 2**22 + 1}  # beyond the largest process number
    task = make_plan(MODULES).tasks[0]
    await storage.store_many([dead, task])
    assert await storage.claim_task(task.id, dead.id)
    await coordinator_of(storage, make_plan(MODULES)).prepare()
    assert await status_of(storage, task.id) is TaskStatus.PENDING
    assert await storage.get_agent(dead.id) is None
    (event,) = await storage.get_events_by_type(WORKER_LOST, 10)
    assert event.data["worker"] == dead.id


async def test_a_worker_that_may_live_keeps_its_task(storage: Storage) -> None:
    alive = AgentModel.new("worker-1", WORKER)
    alive.metadata = {**process_metadata(), "pid": os.getppid()}
    task = make_plan(MODULES).tasks[0]
    await storage.store_many([alive, task])
    assert await storage.claim_task(task.id, alive.id)
    await coordinator_of(storage, make_plan(MODULES)).prepare()
    assert await status_of(storage, task.id) is TaskStatus.ASSIGNED


async def test_a_coordinator_that_lives_is_not_displaced_and_a_silent_one_is(storage: Storage) -> None:
    with use_clock(clock := ManualClock()):
        other = AgentModel(id=COORDINATOR_ID, name="coordinator", agent_type=COORDINATOR)
        other.metadata = {"host": "elsewhere", "pid": 7}
        await storage.store_agent(other)
        with pytest.raises(DemoError, match="process 7 on elsewhere"):
            await coordinator_of(storage, make_plan(MODULES)).prepare()
        clock.advance(SILENCE_SECONDS + 1)
        await coordinator_of(storage, make_plan(MODULES)).prepare()


async def test_a_stop_before_the_work_is_told(storage: Storage) -> None:
    coordinator = coordinator_of(storage, make_plan(MODULES))
    await coordinator.prepare()
    coordinator._stopping.requested.set()
    await coordinator.run(2)
    await coordinator.sign_off()
    assert not coordinator.is_finished
    assert len(await storage.get_events_by_type(RUN_STOPPED, 10)) == 1
    agent = await storage.get_agent(COORDINATOR_ID)
    assert agent is not None
    assert agent.status is AgentStatus.SHUTDOWN


async def test_workers_that_cannot_work_are_not_replaced_for_ever(tmp_path: Path) -> None:
    async with await SqliteStorage.open(tmp_path / "swarm.db") as storage:
        coordinator = coordinator_of(storage, make_plan(MODULES), target=str(tmp_path))
        await coordinator.prepare()
        with pytest.raises(DemoError, match=r"the workers keep ending.*is a directory"):
            await coordinator.run(1)


async def test_a_task_that_failed_for_good_ends_the_run(tmp_path: Path) -> None:
    async with await SqliteStorage.open(tmp_path / "swarm.db") as storage:
        plan = make_plan(MODULES)
        plan.tasks[0].payload = {"no": "path"}
        coordinator = coordinator_of(storage, plan, target=str(tmp_path / "swarm.db"))
        await coordinator.prepare()
        with pytest.raises(DemoError, match=r"a task failed for good \(measure-module\): KeyError: 'module'"):
            await coordinator.run(1)
