"""Facts about claims that end concurrently: each outcome is as if it ended alone."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest

from swarm_persistence import LeaseLostError, Storage, TaskModel, TaskStatus
from swarm_persistence_conformance.callers import elsewhere
from swarm_persistence_conformance.records import a_task, ids


@pytest.mark.asyncio
class TestSimultaneousEnds:
    """The holders' verbs, called concurrently."""

    async def test_each_completion_writes_its_own_result(self, storage: Storage) -> None:
        await storage.store_tasks([a_task(str(number)) for number in range(50)])
        tasks = await storage.claim_next_tasks("agent-1", limit=50)

        await asyncio.gather(*(storage.complete_task(task, {"of": task.id}) for task in tasks))

        stored = [await storage.get_task(task.id) for task in tasks]
        assert stored == tasks
        assert [(task.status, task.result) for task in tasks] == [
            (TaskStatus.COMPLETED, {"of": task.id}) for task in tasks
        ]

    async def test_a_claim_that_is_over_fails_alone(self, storage: Storage) -> None:
        await storage.store_tasks([a_task(str(number)) for number in range(9)])
        tasks = await storage.claim_next_tasks("agent-1", limit=9)
        await storage.cancel_task("2")
        await storage.release_task(await _read(storage, "5"))
        await storage.claim_task("5", "agent-2")

        outcomes = await asyncio.gather(*map(storage.complete_task, tasks), return_exceptions=True)

        assert [isinstance(outcome, LeaseLostError) for outcome in outcomes] == [place in (2, 5) for place in range(9)]
        assert (await _read(storage, "2")).status is TaskStatus.CANCELLED
        assert (await _read(storage, "5")).assigned_to == "agent-2"

    async def test_of_two_ends_of_one_claim_one_succeeds(self, storage: Storage) -> None:
        await storage.store_tasks([a_task(), a_task("next", dependencies=["task-1"])])
        (task,) = await storage.claim_next_tasks("agent-1", limit=2)
        copies = [await _read(storage, task.id) for _ in range(5)]

        outcomes = await asyncio.gather(
            *(storage.complete_task(copy, number) for number, copy in enumerate(copies)), return_exceptions=True
        )

        assert Counter(map(type, outcomes)) == {type(None): 1, LeaseLostError: 4}
        assert (await _read(storage, task.id)).result == outcomes.index(None)
        assert ids(await storage.get_ready_tasks()) == ["next"]

    async def test_dependents_of_several_are_freed_once_by_each(self, storage: Storage) -> None:
        first, second = [str(number) for number in range(10)], [str(number) for number in range(10, 13)]
        await storage.store_tasks([a_task(id) for id in (*first, *second)])
        await storage.store_task(a_task("one", dependencies=first))
        await storage.store_task(a_task("both", dependencies=[*first, *second]))
        tasks = {task.id: task for task in await storage.claim_next_tasks("agent-1", limit=13)}

        await asyncio.gather(*(storage.complete_task(tasks[id]) for id in first))
        assert ids(await storage.get_ready_tasks()) == ["one"]
        await asyncio.gather(*(storage.complete_task(tasks[id]) for id in second))

        assert ids(await storage.get_ready_tasks()) == ["one", "both"]

    async def test_a_dependent_that_is_held_all_the_same_may_end_together_with_its_dependency(
        self, storage: Storage
    ) -> None:
        await storage.store_tasks([a_task("first"), a_task("second", dependencies=["first"])])
        await storage.store_task(a_task("third", dependencies=["second", "first"]))
        for id in ("first", "second"):
            await storage.claim_task(id, "agent-1")
        tasks = [await _read(storage, id) for id in ("second", "first")]

        await asyncio.gather(*map(storage.complete_task, tasks))

        assert ids(await storage.get_ready_tasks()) == ["third"]
        assert ids(await storage.get_blocked_tasks()) == []

    async def test_ends_of_every_kind_may_come_at_once(self, storage: Storage) -> None:
        await storage.store_tasks([a_task(str(number), max_retries=number % 2) for number in range(40)])
        tasks = await storage.claim_next_tasks("agent-1", limit=40)
        ends: tuple[Callable[[TaskModel], Awaitable[object]], ...] = (
            storage.complete_task,
            storage.release_task,
            lambda task: storage.fail_task(task, "broken", retry_in=60),
            storage.extend_lease,
            lambda task: storage.cancel_task(task.id),
        )

        await asyncio.gather(*(ends[place % 5](task) for place, task in enumerate(tasks)))

        stored = [await _read(storage, task.id) for task in tasks]
        assert Counter((place % 5, task.status) for place, task in enumerate(stored)) == {
            (0, TaskStatus.COMPLETED): 8,
            (1, TaskStatus.PENDING): 8,
            (2, TaskStatus.PENDING): 4,
            (2, TaskStatus.FAILED): 4,
            (3, TaskStatus.ASSIGNED): 8,
            (4, TaskStatus.CANCELLED): 8,
        }

    async def test_a_caller_that_is_cancelled_takes_no_other_one_along(self, storage: Storage) -> None:
        await storage.store_tasks([a_task(str(number)) for number in range(30)])
        tasks = await storage.claim_next_tasks("agent-1", limit=30)
        calls = [elsewhere(storage.complete_task(task)) for task in tasks]
        await asyncio.sleep(0)

        for call in calls[::3]:
            call.cancel()
        outcomes = await asyncio.gather(*calls, return_exceptions=True)

        assert all(outcome is None for place, outcome in enumerate(outcomes) if place % 3)
        stored = [await _read(storage, task.id) for task in tasks]
        assert all(task.status is TaskStatus.COMPLETED for place, task in enumerate(stored) if place % 3)
        assert {task.status for task in stored} <= {TaskStatus.COMPLETED, TaskStatus.ASSIGNED}


async def _read(storage: Storage, id: str) -> TaskModel:
    task = await storage.get_task(id)
    assert task is not None
    return task
