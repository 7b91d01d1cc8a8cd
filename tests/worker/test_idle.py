"""Workers that run until there is nothing to do, and under a clock that a test moves."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from swarm_persistence import FailTask, RetryTask, Storage, TaskModel, TaskStatus
from swarm_persistence.testing import ManualClock
from swarm_persistence_conformance.waiting import LIMIT_SECONDS
from worker.workers import a_worker, store


async def statuses(storage: Storage) -> dict[str, TaskStatus]:
    return {task.id: task.status for task in await storage.repository(TaskModel).find_all()}


async def test_a_worker_runs_until_no_task_is_left_for_it(storage: Storage) -> None:
    async def work(task: TaskModel) -> None:
        await asyncio.sleep(0.01)

    await store(storage, *(str(number) for number in range(40)))
    await store(storage, "last", dependencies=["3", "7"])
    await store(storage, "other", task_type="other")
    async with a_worker(storage, {"work": work}) as worker, asyncio.timeout(LIMIT_SECONDS):
        await worker.run_until_idle()
        assert worker.outcomes == {"completed": 41}
        assert [id for id, status in (await statuses(storage)).items() if status is TaskStatus.PENDING] == ["other"]

        await store(storage, "later")
        await worker.run_until_idle()
        assert worker.outcomes == {"completed": 42}


async def test_what_a_task_leads_to_is_done_before_a_worker_is_idle(storage: Storage) -> None:
    async def work(task: TaskModel, context: Any) -> None:
        if task.payload:
            await context.storage.store_task(TaskModel.new("work", task.payload - 1))
        else:
            raise FailTask("enough")

    await store(storage, "a", payload=5)
    async with a_worker(storage, {"work": work}) as worker, asyncio.timeout(LIMIT_SECONDS):
        await worker.run_until_idle()

        assert worker.outcomes == {"completed": 5, "failed": 1}


async def test_a_worker_does_what_is_due_once_the_clock_is_moved(storage: Storage, clock: ManualClock) -> None:
    async def work(task: TaskModel) -> int:
        if task.payload == "again" and task.retry_count == 0:
            raise RetryTask(in_=600)
        return task.retry_count

    await store(storage, "due", run_at=clock.now() + timedelta(seconds=600))
    await store(storage, "again", payload="again")
    async with a_worker(storage, {"work": work}) as worker, asyncio.timeout(LIMIT_SECONDS):
        await worker.run_until_idle()
        assert worker.outcomes == {"retried": 1}

        clock.advance(601)
        await worker.run_until_idle()
        assert worker.outcomes == {"retried": 1, "completed": 2}


async def test_a_worker_that_has_stopped_by_an_error_is_not_idle_but_raises_it(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*args: Any, **options: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr(storage, "claim_next_tasks", broken)
    await store(storage, "a")
    with pytest.raises(ZeroDivisionError):
        async with a_worker(storage, {"work": broken}) as worker, asyncio.timeout(LIMIT_SECONDS):
            await worker.run_until_idle()
