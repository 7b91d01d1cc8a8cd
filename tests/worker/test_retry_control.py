"""How a failed attempt goes on: by the exceptions that a handler raises, and by the worker's policy."""

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest

from swarm_persistence import (
    BlockingStorage,
    FailTask,
    InvalidQueryError,
    RetryPolicy,
    RetryTask,
    SnoozeTask,
    Storage,
    TaskModel,
    TaskStatus,
    WorkerContext,
)
from swarm_persistence.testing import now
from worker.workers import a_worker, completed, once, store

NO_DELAY = RetryPolicy(first=0.01, longest=0.02)


def is_finished(task: TaskModel) -> bool:
    return task.status in (TaskStatus.COMPLETED, TaskStatus.FAILED)


def raising(error: Callable[[], BaseException], calls: list[int]) -> Callable[[TaskModel], Any]:
    async def handler(task: TaskModel) -> None:
        calls.append(task.retry_count)
        raise error()

    return handler


def raising_in_a_thread(error: Callable[[], BaseException], calls: list[int]) -> Callable[[TaskModel], Any]:
    def handler(task: TaskModel) -> None:
        calls.append(task.retry_count)
        raise error()

    return handler


@pytest.mark.parametrize("make", [raising, raising_in_a_thread])
async def test_a_handler_fails_its_task_for_good(storage: Storage, make: Any) -> None:
    calls: list[int] = []
    await store(storage, "a", max_retries=5)
    async with a_worker(storage, {"work": make(lambda: FailTask("no such page"), calls)}) as worker:
        task = (await once(storage, is_finished, "a"))["a"]

    assert (task.status, task.error, task.retry_count) == (TaskStatus.FAILED, "no such page", 0)
    assert (calls, worker.outcomes) == ([0], {"failed": 1})


async def test_a_handler_says_when_it_is_retried_and_each_time_counts(storage: Storage) -> None:
    calls: list[int] = []
    await store(storage, "a", max_retries=2)
    handler = raising(lambda: RetryTask("not yet", in_=0), calls)
    async with a_worker(storage, {"work": handler}) as worker:
        task = (await once(storage, is_finished, "a"))["a"]

    assert (task.status, task.error, calls) == (TaskStatus.FAILED, "not yet", [0, 1, 2])
    assert worker.outcomes == {"retried": 2, "failed": 1}


async def test_a_retry_begins_no_earlier_than_the_handler_says(storage: Storage) -> None:
    await store(storage, "a")
    async with a_worker(storage, {"work": raising(lambda: RetryTask(in_=3600), [])}):
        task = (await once(storage, lambda task: task.retry_count == 1, "a"))["a"]

    assert task.error == "the handler asked for a retry"
    assert task.run_at is not None
    assert (task.run_at - now()).total_seconds() > 3000


async def test_a_handler_that_snoozes_counts_no_retry(storage: Storage) -> None:
    calls: list[int] = []

    async def handler(task: TaskModel) -> int:
        calls.append(task.retry_count)
        if len(calls) < 4:
            raise SnoozeTask(in_=0.01)
        return len(calls)

    await store(storage, "a", max_retries=0)
    async with a_worker(storage, {"work": handler}) as worker:
        task = (await completed(storage, "a"))["a"]

    assert (task.result, task.retry_count, task.error, calls) == (4, 0, None, [0] * 4)
    assert worker.outcomes == {"snoozed": 3, "completed": 1}


async def test_a_result_that_is_no_json_fails_the_task_without_running_it_again(storage: Storage) -> None:
    calls: list[str] = []

    async def handler(task: TaskModel) -> object:
        calls.append(task.id)
        return {1, 2}

    await store(storage, "a", max_retries=5)
    async with a_worker(storage, {"work": handler}):
        task = (await once(storage, is_finished, "a"))["a"]

    assert (task.status, calls) == (TaskStatus.FAILED, ["a"])
    assert "task.result is {1, 2}, expected a JSON value" in str(task.error)


async def test_a_policy_replaces_the_limit_of_the_task(storage: Storage) -> None:
    calls: list[int] = []
    await store(storage, "a", max_retries=9)
    policy = RetryPolicy(max_retries=1, first=0.01)
    async with a_worker(storage, {"work": raising(lambda: OSError("no route"), calls)}, retries=policy):
        task = (await once(storage, is_finished, "a"))["a"]

    assert (task.status, calls) == (TaskStatus.FAILED, [0, 1])


async def test_a_policy_names_exceptions_that_no_retry_mends(storage: Storage) -> None:
    calls: list[int] = []
    await store(storage, "a")
    await store(storage, "b", task_type="other", max_retries=1)
    handlers = {
        "work": raising(lambda: KeyError("name"), calls),
        "other": raising(lambda: KeyError("name"), calls),
    }
    retries = {"work": RetryPolicy(final=(LookupError,)), "other": NO_DELAY}
    async with a_worker(storage, handlers, retries=retries):
        tasks = await once(storage, is_finished, "a", "b")

    assert "KeyError: 'name'" in str(tasks["a"].error)
    assert (tasks["a"].retry_count, tasks["b"].retry_count) == (0, 1)


def test_a_policy_without_jitter_doubles_its_delay_up_to_the_longest() -> None:
    policy = RetryPolicy(first=2, longest=10, jitter=0)

    assert [policy.failure(OSError(), retry).retry_in for retry in range(5)] == [2, 4, 8, 10, 10]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: RetryPolicy(max_retries=-1), "max_retries is -1"),
        (lambda: RetryPolicy(first=0), "first is 0"),
        (lambda: RetryPolicy(longest=-1), "longest is -1"),
        (lambda: RetryPolicy(jitter=2), "jitter is 2, expected a number from 0 to 1"),
        (
            lambda: RetryPolicy(final=cast(Any, ("KeyError",))),
            r"final\[0\] is 'KeyError', expected a class of exceptions",
        ),
        (lambda: SnoozeTask(in_=-1), "in_ is -1"),
        (lambda: RetryTask(in_=cast(Any, "soon")), "in_ is 'soon'"),
    ],
)
def test_what_no_policy_can_hold_is_refused(make: Callable[[], object], words: str) -> None:
    with pytest.raises(InvalidQueryError, match=words):
        make()


@pytest.mark.parametrize(
    ("retries", "words"),
    [
        (3, "retries is 3, expected a RetryPolicy"),
        ({"other": NO_DELAY}, "'other' is a task type without a handler"),
        ({"work": 3}, r"retries\['work'\] is 3, expected a RetryPolicy"),
    ],
)
async def test_policies_for_no_handler_are_refused(storage: Storage, retries: Any, words: str) -> None:
    with pytest.raises(InvalidQueryError, match=words):
        a_worker(storage, {"work": raising(OSError, [])}, retries=retries)


async def test_a_handler_reads_the_results_of_its_dependencies_from_its_context(storage: Storage) -> None:
    async def count(task: TaskModel) -> Any:
        return task.payload

    async def total(task: TaskModel, context: WorkerContext) -> int:
        return sum(context.dependencies[id].result for id in task.dependencies)  # type: ignore[misc]

    def names(task: TaskModel, context: WorkerContext[BlockingStorage]) -> list[str]:
        return [*context.dependencies]

    await store(storage, "a", payload=1)
    await store(storage, "b", payload=2)
    await store(storage, "total", task_type="total", dependencies=["b", "a"])
    await store(storage, "names", task_type="names", dependencies=["b", "a"])
    await store(storage, "alone", task_type="names")
    async with a_worker(storage, {"work": count, "total": total, "names": names}):
        tasks = await completed(storage, "total", "names", "alone")

    assert (tasks["total"].result, tasks["names"].result, tasks["alone"].result) == (3, ["b", "a"], [])


def grouped(*errors: BaseException) -> BaseExceptionGroup[BaseException]:
    return BaseExceptionGroup("several", [BaseExceptionGroup("inner", errors)])


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: grouped(FailTask("no such page")), "no such page"),
        (lambda: grouped(FailTask("no such page"), asyncio.CancelledError()), "no such page"),
        (lambda: grouped(FailTask("a"), FailTask("b")), "FailTask: a; swarm_persistence"),
        (lambda: grouped(ValueError("odd"), RetryTask(), FailTask("gone")), "ValueError: odd; "),
        (lambda: grouped(ValueError("odd"), KeyError("k")), "KeyError: 'k'"),
    ],
)
async def test_a_group_that_holds_a_final_exception_fails_the_task_for_good(
    storage: Storage, make: Callable[[], BaseException], reason: str
) -> None:
    calls: list[int] = []
    await store(storage, "a", max_retries=5)
    policy = RetryPolicy(final=(LookupError,))
    async with a_worker(storage, {"work": raising(make, calls)}, retries=policy) as worker:
        task = (await once(storage, is_finished, "a"))["a"]

    assert reason in str(task.error)
    assert (calls, worker.outcomes) == ([0], {"failed": 1})


async def test_a_task_group_whose_child_fails_the_task_fails_it(storage: Storage) -> None:
    async def child() -> None:
        raise FailTask("no such page")

    async def handler(_: TaskModel) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(3600))
            group.create_task(child())

    await store(storage, "a", max_retries=5)
    async with a_worker(storage, {"work": handler}):
        task = (await once(storage, is_finished, "a"))["a"]

    assert (task.error, task.retry_count) == ("no such page", 0)


@pytest.mark.parametrize(
    ("make", "outcome", "delay"),
    [
        (lambda: grouped(SnoozeTask(in_=50), SnoozeTask(in_=5000), asyncio.CancelledError()), "snoozed", 5000),
        (lambda: grouped(SnoozeTask(in_=5000), RetryTask()), "retried", 5000),
        (lambda: grouped(RetryTask("not yet"), RetryTask(in_=5000)), "retried", 5000),
        (lambda: grouped(SnoozeTask(in_=5000), ValueError()), "retried", 0),
        (lambda: grouped(asyncio.CancelledError()), "retried", 0),
    ],
)
async def test_a_group_of_exceptions_that_ask_for_a_later_run_delays_it_by_the_longest(
    storage: Storage, make: Callable[[], BaseException], outcome: str, delay: float
) -> None:
    await store(storage, "a")
    async with a_worker(storage, {"work": raising(make, [])}) as worker:
        task = (await once(storage, lambda task: task.run_at is not None, "a"))["a"]

    assert worker.outcomes[outcome] >= 1
    assert task.run_at is not None
    assert abs((task.run_at - now()).total_seconds() - delay) < 100


@pytest.mark.parametrize("kind", [FailTask, RetryTask])
async def test_a_long_reason_is_shortened(storage: Storage, kind: Callable[[str], BaseException]) -> None:
    await store(storage, "a", max_retries=0)
    async with a_worker(storage, {"work": raising(lambda: kind("x" * 100_000), [])}):
        task = (await once(storage, is_finished, "a"))["a"]

    assert task.error == "x" * 4_000 + "… (100,000 characters)"


class WithoutText(FailTask):
    """Its text cannot be had."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


class Unready(SnoozeTask):
    """It does not call its base's `__init__`."""

    def __init__(self) -> None:
        pass


class Again(RetryTask):
    """It does not call its base's `__init__`."""

    def __init__(self) -> None:
        pass


async def test_a_fault_of_a_handlers_own_exception_does_not_end_the_worker(storage: Storage) -> None:
    errors = iter((WithoutText(), Again(), Unready()))

    async def handler(_: TaskModel) -> None:
        raise next(errors)

    for task_id in "abc":
        await store(storage, task_id, max_retries=0)
    async with a_worker(storage, {"work": handler}, concurrency=1) as worker:
        found = await once(storage, is_finished, "a", "b")
        await once(storage, lambda task: task.run_at is not None and task.status is TaskStatus.PENDING, "c")

    assert worker.outcomes == {"failed": 2, "snoozed": 1}
    assert found["a"].error is not None
    assert "WithoutText" in found["a"].error


@pytest.mark.parametrize("base", [RetryTask, SnoozeTask])
@pytest.mark.parametrize("seconds", [-5, 1e40, float("nan"), "soon"])
async def test_a_delay_that_is_none_of_a_handlers_own_exception_is_a_failure(
    storage: Storage, base: type[Exception], seconds: Any
) -> None:
    class Later(base):  # type: ignore[misc, valid-type]
        def __init__(self) -> None:
            self.seconds = seconds

    await store(storage, "a", max_retries=0)
    async with a_worker(storage, {"work": raising(Later, [])}) as worker:
        task = (await once(storage, is_finished, "a"))["a"]

    assert worker.outcomes == {"failed": 1}
    assert f"seconds is {seconds!r}" in str(task.error)
