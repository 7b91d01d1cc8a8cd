"""What becomes of a task: by what its handler returns and raises."""

import asyncio
import logging
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from swarm_persistence import (
    BlockingStorage,
    EventModel,
    LeaseLostError,
    Storage,
    TaskModel,
    TaskPriority,
    TaskStatus,
    WorkerContext,
)
from worker.workers import a_worker, completed, once, store


@pytest.fixture
def short_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a failed task be tried again soon."""
    monkeypatch.setattr("swarm_persistence.storage.leases.FIRST_RETRY_SECONDS", 0.02)


async def double(task: TaskModel) -> Any:
    return {"doubled": task.payload * 2}


def double_in_a_thread(task: TaskModel) -> Any:
    assert threading.current_thread() is not threading.main_thread()
    return {"doubled": task.payload * 2}


class Doubler:
    """A handler with a state of its own."""

    async def __call__(self, task: TaskModel) -> Any:
        return await double(task)


HANDLERS = [double, double_in_a_thread, Doubler(), lambda task: double(task)]  # noqa: PLW0108 - a lambda is the case


@pytest.mark.parametrize("handler", HANDLERS, ids=["async", "blocking", "object", "lambda"])
async def test_what_a_handler_returns_is_the_result(storage: Storage, handler: Any) -> None:
    await store(storage, "a", payload=21)
    async with a_worker(storage, {"work": handler}) as worker:
        task = (await completed(storage, "a"))["a"]
    assert (task.result, task.assigned_to, task.claim_count) == ({"doubled": 42}, "agent-1", 1)
    assert worker.outcomes == {"completed": 1}


async def test_a_task_that_is_completed_is_logged_as_no_error(
    storage: Storage, caplog: pytest.LogCaptureFixture
) -> None:
    await store(storage, "a", payload=21)
    async with a_worker(storage, {"work": double}):
        await completed(storage, "a")
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_what_is_stored_later_is_done_as_well(storage: Storage) -> None:
    async with a_worker(storage, {"work": double}):
        await store(storage, "a", payload=1)
        await completed(storage, "a")
        await store(storage, "b", payload=2, dependencies=["c"])
        await store(storage, "c", payload=3)
        assert (await completed(storage, "b", "c"))["b"].result == {"doubled": 4}


async def fail(task: TaskModel) -> None:
    raise LookupError(f"no page {task.payload}")


def fail_in_a_thread(task: TaskModel) -> None:
    raise LookupError(f"no page {task.payload}")


@pytest.mark.parametrize("handler", [fail, fail_in_a_thread])
async def test_a_handler_that_raises_fails_its_task_with_what_and_where(storage: Storage, handler: Any) -> None:
    await store(storage, "a", payload=7, max_retries=0)
    async with a_worker(storage, {"work": handler}) as worker:
        task = (await once(storage, lambda task: task.status is TaskStatus.FAILED, "a"))["a"]
    line = handler.__code__.co_firstlineno + 1
    assert task.error == f"LookupError: no page 7 (test_outcomes.py:{line})"
    assert worker.outcomes == {"failed": 1}


@pytest.mark.usefixtures("short_retries")
async def test_a_failed_task_is_tried_again(storage: Storage) -> None:
    tries = []

    async def fail_twice(task: TaskModel) -> str:
        tries.append(task.retry_count)
        if len(tries) < 3:
            raise OSError("not yet")
        return "at last"

    await store(storage, "a", max_retries=2)
    async with a_worker(storage, {"work": fail_twice}) as worker:
        task = (await completed(storage, "a"))["a"]
    assert (tries, task.result, task.claim_count) == ([0, 1, 2], "at last", 3)
    assert worker.outcomes == {"retried": 2, "completed": 1}


@pytest.mark.usefixtures("short_retries")
async def test_a_task_without_retries_left_has_failed_for_good(storage: Storage) -> None:
    await store(storage, "a", max_retries=1)
    async with a_worker(storage, {"work": fail}) as worker:
        task = (await once(storage, lambda task: task.status is TaskStatus.FAILED, "a"))["a"]
    assert (task.retry_count, task.claim_count) == (1, 2)
    assert worker.outcomes == {"retried": 1, "failed": 1}


class Incomparable(dict[str, int]):
    """A result that raises, as those of some libraries do, what no encoder expects."""

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("not comparable")

    def items(self) -> Any:
        """Refuse."""
        raise RuntimeError("not readable")

    __hash__ = None


@pytest.mark.parametrize("result", [{1, 2}, float("nan"), "\udc80", Incomparable(a=1), {"a": Incomparable(a=1)}])
async def test_a_result_that_is_no_json_fails_the_task_with_that_reason(storage: Storage, result: Any) -> None:
    async def return_it(_: TaskModel) -> Any:
        return result

    await store(storage, "a", max_retries=0)
    async with a_worker(storage, {"work": return_it}):
        task = (await once(storage, lambda task: task.status is TaskStatus.FAILED, "a"))["a"]
    assert task.error is not None
    assert task.error.startswith("Serialization error: task.result")


async def test_an_error_whose_text_no_column_can_hold_is_told_all_the_same(
    storage: Storage, caplog: pytest.LogCaptureFixture
) -> None:
    # The worker logs it as well, and a report that holds a surrogate cannot pass between the runner's processes.
    caplog.set_level(logging.CRITICAL, logger="swarm_persistence")

    async def fail_badly(_: TaskModel) -> None:
        raise ValueError("nul \x00 and surrogate \udc80")

    await store(storage, "a", max_retries=0)
    async with a_worker(storage, {"work": fail_badly}):
        task = (await once(storage, lambda task: task.status is TaskStatus.FAILED, "a"))["a"]
    assert task.error is not None
    assert task.error.startswith("ValueError: nul \\x00 and surrogate \\udc80 (test_outcomes.py:")


async def leave(_: TaskModel) -> None:
    sys.exit("I leave")


def leave_in_a_thread(_: TaskModel) -> None:
    sys.exit("I leave")


@pytest.mark.parametrize("handler", [leave, leave_in_a_thread])
async def test_a_handler_that_calls_exit_fails_its_task_and_not_the_worker(storage: Storage, handler: Any) -> None:
    await store(storage, "a", max_retries=0)
    async with a_worker(storage, {"work": handler, "other": double}):
        task = (await once(storage, lambda task: task.status is TaskStatus.FAILED, "a"))["a"]
        await store(storage, "b", task_type="other", payload=1)
        await completed(storage, "b")
    assert task.error is not None
    assert task.error.startswith("SystemExit: I leave")


class Strange(BaseException):
    """An exception that is not an `Exception`."""


async def be_strange(_: TaskModel) -> None:
    raise Strange("as never before")


def be_strange_in_a_thread(_: TaskModel) -> None:
    raise Strange("as never before")


@pytest.mark.parametrize("handler", [be_strange, be_strange_in_a_thread])
async def test_a_handler_that_raises_what_is_no_exception_fails_its_task(storage: Storage, handler: Any) -> None:
    await store(storage, "a", max_retries=0)
    async with a_worker(storage, {"work": handler, "other": double}) as worker:
        task = (await once(storage, lambda task: task.status is TaskStatus.FAILED, "a"))["a"]
        await store(storage, "b", task_type="other", payload=1)
        await completed(storage, "b")
    assert task.error is not None
    assert "Strange: as never before" in task.error
    assert worker.outcomes == {"failed": 1, "completed": 1}


@pytest.mark.usefixtures("short_retries")
async def test_the_task_of_a_handler_that_is_cancelled_comes_back(storage: Storage) -> None:
    async def be_cancelled_once(task: TaskModel) -> int:
        if task.claim_count == 1:
            raise asyncio.CancelledError
        return task.retry_count

    await store(storage, "a")
    async with a_worker(storage, {"work": be_cancelled_once}):
        task = (await completed(storage, "a"))["a"]
    assert (task.result, task.claim_count) == (1, 2)


async def test_a_handler_may_ask_for_the_storage_and_the_agent(storage: Storage) -> None:
    async def tell(task: TaskModel, context: WorkerContext[Storage]) -> str:
        await context.storage.store_event(EventModel.new("told", task.id).with_agent(context.agent.id))
        return context.agent.id

    def tell_in_a_thread(task: TaskModel, context: WorkerContext[BlockingStorage]) -> str:
        with context.storage.transaction():
            context.storage.store_event(EventModel.new("told", task.id).with_agent(context.agent.id))
        return context.agent.id

    def default(task: TaskModel, depth: int = 3) -> int:
        return depth

    handlers: dict[str, Callable[..., Any]] = {"async": tell, "blocking": tell_in_a_thread, "default": default}
    for task_type in handlers:
        await store(storage, task_type, task_type=task_type)
    async with a_worker(storage, handlers):
        tasks = await completed(storage, *handlers)
    assert {id: task.result for id, task in tasks.items()} == {"async": "agent-1", "blocking": "agent-1", "default": 3}
    assert {event.data for event in await storage.get_events_by_agent("agent-1", 10)} == {"async", "blocking"}


async def test_a_handler_may_complete_its_task_together_with_what_it_writes(storage: Storage) -> None:
    async def complete(task: TaskModel, context: WorkerContext[Storage]) -> str:
        async with context.storage.transaction():
            await context.storage.store_event(EventModel.new("done", task.id))
            await context.storage.complete_task(task, "by the handler")
        return "by the worker"

    await store(storage, "a")
    async with a_worker(storage, {"work": complete}) as worker:
        await completed(storage, "a")
    stored = await storage.get_task("a")
    assert stored is not None
    assert (stored.result, worker.outcomes) == ("by the handler", {"completed": 1})


async def test_what_a_handler_does_to_its_copy_does_not_harm_the_claim(storage: Storage) -> None:
    async def spoil(task: TaskModel) -> str:
        task.id, task.assigned_to, task.claim_count, task.status = "b", "agent-2", 7, TaskStatus.COMPLETED
        return "fine"

    await store(storage, "a")
    async with a_worker(storage, {"work": spoil}):
        assert (await completed(storage, "a"))["a"].result == "fine"


async def test_only_types_with_a_handler_are_claimed(storage: Storage) -> None:
    await store(storage, "other", task_type="other", priority=TaskPriority.CRITICAL)
    await store(storage, "mine", payload=1)
    async with a_worker(storage, {"work": double}):
        await completed(storage, "mine")
    other = await storage.get_task("other")
    assert other is not None
    assert (other.status, other.claim_count) == (TaskStatus.PENDING, 0)


async def test_an_outcome_of_a_lost_claim_is_not_written(storage: Storage) -> None:
    async def lose(task: TaskModel, context: WorkerContext[Storage]) -> str:
        await context.storage.cancel_task(task.id)
        return "too late"

    await store(storage, "a")
    async with a_worker(storage, {"work": lose}) as worker:
        await once(storage, lambda task: task.status is TaskStatus.CANCELLED, "a")
    stored = await storage.get_task("a")
    assert stored is not None
    assert (stored.status, stored.result) == (TaskStatus.CANCELLED, None)
    assert worker.outcomes == {"lost": 1}
    with pytest.raises(LeaseLostError):
        await storage.release_task(stored)
