"""Facts about what a running handler reports and asks: its progress, and whether it is cancelled."""

import asyncio
import threading

import pytest

from swarm_persistence import BlockingStorage, HandlerCancelled, InvalidQueryError, Storage, TaskModel, WorkerContext
from swarm_persistence.worker import handler_control
from swarm_persistence_conformance.waiting import LIMIT_SECONDS
from worker.workers import a_worker, completed, once, soon, store


async def test_a_progress_is_written_while_the_handler_runs(storage: Storage) -> None:
    go_on = asyncio.Event()

    async def work(_: TaskModel, context: WorkerContext) -> None:
        context.report_progress(0.4, "2 of 5")
        await go_on.wait()

    await store(storage, "task-1")
    async with a_worker(storage, {"work": work}):
        (task,) = (await once(storage, lambda task: task.progress is not None, "task-1")).values()
        go_on.set()
        await completed(storage, "task-1")
    assert (task.progress, task.progress_text) == (0.4, "2 of 5")


async def test_reports_in_between_are_coalesced(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handler_control, "REPORT_PAUSE_SECONDS", 0.05)

    def work(_: TaskModel, context: WorkerContext[BlockingStorage]) -> None:
        for number in range(20_000):
            context.report_progress(number / 20_000)
        context.report_progress(1.0, "last")
        assert may_end.wait(LIMIT_SECONDS)

    may_end = threading.Event()
    await store(storage, "task-1")
    async with a_worker(storage, {"work": work}):
        (task,) = (await once(storage, lambda task: task.progress_text == "last", "task-1")).values()
        may_end.set()
        await completed(storage, "task-1")
    assert task.version < 1_000


async def test_an_invalid_progress_is_refused_in_the_handler(storage: Storage) -> None:
    async def work(_: TaskModel, context: WorkerContext) -> str:
        with pytest.raises(InvalidQueryError, match="progress is 2"):
            context.report_progress(2)
        return "refused"

    await store(storage, "task-1")
    async with a_worker(storage, {"work": work}):
        tasks = await completed(storage, "task-1")
    assert tasks["task-1"].result == "refused"


async def test_a_blocking_handler_is_told_that_its_task_was_cancelled(storage: Storage) -> None:
    loop, has_begun, has_ended = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()
    told: list[bool] = []

    def work(_: TaskModel, context: WorkerContext[BlockingStorage]) -> None:
        told.append(context.is_cancelled)
        loop.call_soon_threadsafe(has_begun.set)
        pause = threading.Event()
        try:
            while True:
                context.raise_if_cancelled()
                pause.wait(0.005)
        except HandlerCancelled:
            told.append(context.is_cancelled)
            loop.call_soon_threadsafe(has_ended.set)
            raise

    await store(storage, "task-1")
    async with a_worker(storage, {"work": work}) as worker:
        await soon(has_begun)
        assert await storage.cancel_task("task-1")
        await soon(has_ended)
        await worker.run_until_idle()
    assert told == [False, True]
    assert worker.outcomes == {"lost": 1}
