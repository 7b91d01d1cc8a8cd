"""Facts about workers whose answer to a write is lost: what was written is read back, and counted as what it is."""

from collections.abc import Awaitable, Callable

import pytest

from polling import until
from postgres.proxies import Proxy
from swarm_persistence import OutcomeUnknownError, PostgresStorage, TaskModel, TaskStatus
from swarm_persistence.worker import Worker
from swarm_persistence_conformance.callers import elsewhere
from swarm_persistence_conformance.records import a_task, an_agent


def lose_answer(proxy: Proxy, *, arming: bytes, fatal: bytes) -> None:
    """Lose the answer to the first message with the fatal words, once a connection has carried the arming ones."""
    for line in proxy._lines:
        line.is_armed = False
    proxy.fatal_words = fatal
    proxy.arming_words = arming


async def outcomes_of(
    storage: PostgresStorage, handle: Callable[[TaskModel], Awaitable[str]]
) -> tuple[dict[str, int], TaskModel]:
    """Let a worker do the one task that there is, and return what it counted and what is stored."""
    worker = Worker(storage, an_agent("agent-1"), {"work": handle}, heeds_signals=False)
    async with worker:
        await until(lambda: worker.outcomes)
    task = await storage.get_task("task-1")
    assert task is not None
    return dict(worker.outcomes), task


async def test_a_completion_that_was_done_is_counted_as_one(
    impatient: PostgresStorage, storage: PostgresStorage, proxy: Proxy
) -> None:
    await storage.store_tasks([a_task(task_type="work"), a_task("next", dependencies=["task-1"])])

    async def work(_: TaskModel) -> str:
        lose_answer(proxy, arming=b"what came of it", fatal=b"what came of it")
        return "what came of it"

    outcomes, task = await outcomes_of(impatient, work)

    assert proxy.fatal_words is None  # it was met
    assert outcomes == {"completed": 1}
    assert (task.status, task.result, task.claim_count) == (TaskStatus.COMPLETED, "what came of it", 1)


async def test_a_failure_is_counted_as_one(impatient: PostgresStorage, storage: PostgresStorage, proxy: Proxy) -> None:
    await storage.store_task(a_task(task_type="work", max_retries=0))

    async def work(_: TaskModel) -> str:
        lose_answer(proxy, arming=b"no page", fatal=b"no page")
        raise LookupError("no page")

    outcomes, task = await outcomes_of(impatient, work)

    assert proxy.fatal_words is None
    assert outcomes == {"failed": 1}
    assert task.status is TaskStatus.FAILED


async def test_what_another_agent_has_completed_is_lost_all_the_same(
    impatient: PostgresStorage, storage: PostgresStorage, proxy: Proxy
) -> None:
    await storage.store_tasks([a_task(task_type="work"), a_task("next", dependencies=["task-1"])])

    async def take_over() -> None:
        async with storage.transaction():
            await storage.release_task(await read(storage))
            assert await storage.claim_task("task-1", "agent-2")
            await storage.complete_task(await read(storage), "theirs")

    async def work(task: TaskModel) -> str:
        await elsewhere(take_over())
        lose_answer(proxy, arming=b"what came of it", fatal=b"what came of it")
        return "what came of it"

    outcomes, task = await outcomes_of(impatient, work)

    assert proxy.fatal_words is None
    assert outcomes == {"lost": 1}
    assert task.result == "theirs"


async def test_a_cancellation_of_an_awaited_task_is_read_back(
    impatient: PostgresStorage, storage: PostgresStorage, proxy: Proxy
) -> None:
    await storage.store_tasks([a_task(), a_task("next", dependencies=["task-1"])])
    lose_answer(proxy, arming=b"was cancelled", fatal=b"COMMIT\0")

    assert await impatient.cancel_task("task-1")

    assert proxy.fatal_words is None
    assert (await read(storage)).status is TaskStatus.CANCELLED
    dependent = await storage.get_task("next")
    assert dependent is not None
    assert dependent.status is TaskStatus.FAILED


async def test_the_lost_answer_to_a_look_for_dependents_matters_to_no_cancellation(
    impatient: PostgresStorage, storage: PostgresStorage, proxy: Proxy
) -> None:
    await storage.store_tasks([a_task(), a_task("next", dependencies=["task-1"])])
    lose_answer(proxy, arming=b"task-1", fatal=b"COMMIT\0")

    assert await impatient.cancel_task("task-1")

    assert (await read(storage)).status is TaskStatus.CANCELLED


async def test_a_failure_of_an_awaited_task_is_read_back(
    impatient: PostgresStorage, storage: PostgresStorage, proxy: Proxy
) -> None:
    await storage.store_tasks([a_task(max_retries=0), a_task("next", dependencies=["task-1"])])
    task = await storage.claim_next_task("agent-1")
    assert task is not None
    lose_answer(proxy, arming=b"failed: no page", fatal=b"COMMIT\0")

    await impatient.fail_task(task, "no page")

    assert proxy.fatal_words is None
    assert task == await read(storage)
    assert task.status is TaskStatus.FAILED


async def test_a_cancellation_that_others_have_changed_since_stays_unknown(
    impatient: PostgresStorage, storage: PostgresStorage, proxy: Proxy
) -> None:
    await storage.store_tasks([a_task(), a_task("next", dependencies=["task-1"])])
    lose_answer(proxy, arming=b"was cancelled", fatal=b"COMMIT\0")
    cancelling = elsewhere(impatient.cancel_task("task-1"))
    while (await read(storage)).status is not TaskStatus.CANCELLED:
        pass

    task = await read(storage)
    task.error = "theirs"
    await storage.update_task(task)

    with pytest.raises(OutcomeUnknownError):
        await cancelling


async def read(storage: PostgresStorage) -> TaskModel:
    task = await storage.get_task("task-1")
    assert task is not None
    return task
