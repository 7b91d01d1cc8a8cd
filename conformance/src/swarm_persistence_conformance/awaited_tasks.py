"""Facts about waiting until tasks are finished."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import pytest

from swarm_persistence import (
    ClosedError,
    NotFoundError,
    Storage,
    TaskModel,
    TaskStatus,
    TransactionError,
    WaitTimeoutError,
)
from swarm_persistence_conformance.callers import elsewhere
from swarm_persistence_conformance.fixtures import OpenStorage
from swarm_persistence_conformance.held_tasks import claimed, stored
from swarm_persistence_conformance.records import a_task, ids
from swarm_persistence_conformance.waiting import FOR_LONG_SECONDS, SOON_SECONDS, settle


async def _complete(storage: Storage) -> None:
    await storage.complete_task(await claimed(storage), {"sum": 6})


async def _fail(storage: Storage) -> None:
    await storage.fail_task(await claimed(storage), "no luck", max_retries=0)


async def _fail_its_dependency(storage: Storage) -> None:
    await storage.update_task(a_task(dependencies=["dependency"], version=1))
    await storage.store_task(a_task("dependency"))
    await storage.cancel_task("dependency")


ENDS: dict[str, tuple[TaskStatus, Callable[[Storage], Coroutine[Any, Any, Any]]]] = {
    "complete_task": (TaskStatus.COMPLETED, _complete),
    "fail_task": (TaskStatus.FAILED, _fail),
    "cancel_task": (TaskStatus.CANCELLED, lambda storage: storage.cancel_task("task-1")),
    "a failed dependency": (TaskStatus.FAILED, _fail_its_dependency),
    "update_task": (
        TaskStatus.COMPLETED,
        lambda storage: storage.update_task(a_task(status=TaskStatus.COMPLETED, version=1)),
    ),
}


@pytest.mark.asyncio
class TestAwaitedTasks:
    """The contract of `wait_for_task` and `wait_for_tasks`."""

    @pytest.mark.parametrize("end", ENDS)
    async def test_each_end_of_a_task_ends_the_wait_for_it(self, storage: Storage, end: str) -> None:
        status, work = ENDS[end]
        await storage.store_task(a_task())
        waiting = elsewhere(storage.wait_for_task("task-1"))
        await settle(storage)
        assert not waiting.done()

        await work(storage)

        async with asyncio.timeout(SOON_SECONDS):
            task = await waiting
        assert task.status is status
        assert task == await stored(storage)

    async def test_a_finished_task_is_returned_at_once(self, storage: Storage) -> None:
        task = await storage.store_task(a_task(status=TaskStatus.COMPLETED, result=6))

        assert await storage.wait_for_task("task-1", timeout=0) == task
        assert await storage.wait_for_tasks(["task-1", "task-1"], timeout=0) == [task, task]
        assert await storage.wait_for_tasks([]) == []

    async def test_a_retry_does_not_end_the_wait(self, storage: Storage) -> None:
        await storage.store_task(a_task())
        waiting = elsewhere(storage.wait_for_task("task-1"))

        await storage.fail_task(await claimed(storage), "no luck", retry_in=0)
        await settle(storage)
        assert not waiting.done()
        await _complete(storage)

        async with asyncio.timeout(SOON_SECONDS):
            assert (await waiting).result == {"sum": 6}

    async def test_several_tasks_come_in_the_order_of_their_ids_once_all_are_finished(self, storage: Storage) -> None:
        await storage.store_tasks([a_task(id) for id in "abc"])
        waiting = elsewhere(storage.wait_for_tasks(["c", "a", "b"]))

        for _ in range(3):
            await settle(storage)
            assert not waiting.done()
            await _complete(storage)

        async with asyncio.timeout(SOON_SECONDS):
            assert ids(await waiting) == ["c", "a", "b"]

    async def test_a_wait_that_is_over_says_which_tasks_are_not_finished(self, storage: Storage) -> None:
        await storage.store_tasks([a_task("a", status=TaskStatus.COMPLETED), a_task("b"), a_task("c")])

        with pytest.raises(WaitTimeoutError, match=r"2 task\(s\) not finished after 0.01 s: 'b', 'c'") as error:
            await storage.wait_for_tasks(["a", "b", "c"], timeout=0.01)

        assert isinstance(error.value, TimeoutError)

    async def test_a_missing_task_is_not_waited_for(self, storage: Storage) -> None:
        await storage.store_task(a_task())

        with pytest.raises(NotFoundError, match="task 'tpyo'"):
            await storage.wait_for_task("tpyo")
        with pytest.raises(NotFoundError, match="task 'tpyo'"):
            await storage.wait_for_tasks(["task-1", "tpyo"])

    async def test_the_wait_for_a_task_that_is_deleted_ends(self, storage: Storage) -> None:
        await storage.store_tasks([a_task(), a_task("other")])
        waiting = [elsewhere(storage.wait_for_task(id)) for id in ("task-1", "other")]
        await settle(storage)

        await storage.repository(TaskModel).delete("task-1")

        async with asyncio.timeout(FOR_LONG_SECONDS):
            with pytest.raises(NotFoundError, match="task 'task-1'"):
                await waiting[0]
        assert not waiting[1].done()
        waiting[1].cancel()

    async def test_each_waiter_has_a_record_of_its_own(self, storage: Storage) -> None:
        await storage.store_task(a_task())
        waiting = [elsewhere(storage.wait_for_task("task-1")) for _ in range(20)]
        await settle(storage)

        await _complete(storage)

        results: list[Any] = [task.result for task in await asyncio.gather(*waiting)]
        assert results == [{"sum": 6}] * 20
        for result in results:
            result["sum"] += 1
        assert results == [{"sum": 7}] * 20

    async def test_of_many_waiters_those_that_are_cancelled_disturb_no_other(self, storage: Storage) -> None:
        await storage.store_tasks([a_task(str(number)) for number in range(40)])
        waiting = [elsewhere(storage.wait_for_task(str(number))) for number in range(40)]
        await settle(storage)
        for each in waiting[::2]:
            each.cancel()

        for _ in range(40):
            await _complete(storage)

        async with asyncio.timeout(FOR_LONG_SECONDS):
            assert ids(await asyncio.gather(*waiting[1::2])) == [str(number) for number in range(1, 40, 2)]

    async def test_a_wait_can_follow_another_one_that_has_ended(self, storage: Storage) -> None:
        await storage.store_tasks([a_task(str(number)) for number in range(5)])
        for number in range(5):
            waiting = elsewhere(storage.wait_for_task(str(number)))
            await settle(storage)
            await _complete(storage)
            async with asyncio.timeout(SOON_SECONDS):
                assert (await waiting).id == str(number)

    async def test_a_wait_within_a_transaction_is_refused(self, storage: Storage) -> None:
        await storage.store_task(a_task())

        async with storage.transaction():
            with pytest.raises(TransactionError, match="wait_for_task"):
                await storage.wait_for_task("task-1")

    async def test_closing_the_storage_ends_the_waits(self, open_storage: OpenStorage) -> None:
        async with open_storage() as storage:
            await storage.store_tasks([a_task("a"), a_task("b")])
            waiting = [elsewhere(storage.wait_for_task("a")), elsewhere(storage.wait_for_tasks(["a", "b"]))]
            await settle(storage)

        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [ClosedError] * 2
        with suppress(ClosedError):
            await storage.close()
