"""Facts about dependencies: what blocks a task, and when it becomes ready."""

import asyncio
import random
from datetime import timedelta

import pytest

from swarm_persistence import ConflictError, Storage, TaskPriority, TaskStatus
from swarm_persistence.testing import ManualClock
from swarm_persistence_conformance.callers import elsewhere
from swarm_persistence_conformance.held_tasks import claimed, stored
from swarm_persistence_conformance.records import a_task, after, ids


async def complete(storage: Storage, id: str) -> None:
    """Claim a ready task and complete it."""
    assert await storage.claim_task(id, "agent-1")
    await storage.complete_task(await stored(storage, id))


async def ready_and_blocked(storage: Storage) -> tuple[list[str], list[str]]:
    """Return the ids of the ready and of the blocked tasks."""
    return ids(await storage.get_ready_tasks()), ids(await storage.get_blocked_tasks())


@pytest.mark.asyncio
class TestDependencies:
    """A task is blocked until all of its dependencies are completed."""

    async def test_a_task_waits_until_all_its_dependencies_are_completed(self, storage: Storage) -> None:
        await storage.store_tasks([a_task("a"), a_task("b"), a_task("last", dependencies=["a", "b"])])

        assert await ready_and_blocked(storage) == (["a", "b"], ["last"])
        await complete(storage, "a")
        assert await ready_and_blocked(storage) == (["b"], ["last"])
        await complete(storage, "b")
        assert await ready_and_blocked(storage) == (["last"], [])
        assert (await claimed(storage)).id == "last"

    async def test_a_task_waits_for_the_last_of_many_dependencies_however_they_are_completed(
        self, storage: Storage
    ) -> None:
        names = [f"task-{number}" for number in range(40)]
        await storage.store_tasks([*map(a_task, names), a_task("last", dependencies=names)])
        first, *others = names

        for place, id in enumerate(others):
            if place % 3 == 0:
                task = await stored(storage, id)
                task.status = TaskStatus.COMPLETED
                await storage.update_task(task)
            elif place % 3 == 1:
                async with storage.transaction():
                    await complete(storage, id)
            else:
                await complete(storage, id)
            assert ids(await storage.get_blocked_tasks()) == ["last"]
        assert await ready_and_blocked(storage) == ([first], ["last"])
        await complete(storage, first)

        assert await ready_and_blocked(storage) == (["last"], [])

    async def test_many_dependencies_that_are_completed_at_once_leave_none(self, storage: Storage) -> None:
        names = [f"task-{number}" for number in range(40)]
        await storage.store_tasks([*map(a_task, names), a_task("last", dependencies=names)])

        await asyncio.gather(*(complete(storage, id) for id in names))

        assert await ready_and_blocked(storage) == (["last"], [])

    async def test_a_task_that_is_no_longer_completed_blocks_one_of_many_dependencies_again(
        self, storage: Storage
    ) -> None:
        names = [f"task-{number}" for number in range(20)]
        await storage.store_tasks([*map(a_task, names), a_task("last", dependencies=names)])
        await asyncio.gather(*(complete(storage, id) for id in names[1:]))
        again = await stored(storage, names[1])
        again.status = TaskStatus.PENDING
        await storage.update_task(again)

        await complete(storage, names[0])
        assert ids(await storage.get_blocked_tasks()) == ["last"]
        await complete(storage, names[1])

        assert await ready_and_blocked(storage) == (["last"], [])

    async def test_a_stale_copy_of_a_task_that_failed_with_its_dependency_is_refused(self, storage: Storage) -> None:
        await storage.store_tasks([a_task("a"), a_task("last", dependencies=["a"])])
        stale = await stored(storage, "last")
        await storage.cancel_task("a")
        fresh = await stored(storage, "last")
        await storage.update_task(fresh)

        with pytest.raises(ConflictError):
            await storage.update_task(stale)
        assert (stale.status, stale.version) == (TaskStatus.PENDING, 1)

    async def test_what_is_blocked_is_not_claimed_however_urgent(self, storage: Storage) -> None:
        urgent = a_task("urgent", dependencies=["plain"], priority=TaskPriority.CRITICAL)
        await storage.store_tasks([urgent, a_task("plain")])

        assert ids(await storage.claim_next_tasks("agent-1", limit=9)) == ["plain"]

    async def test_a_dependency_need_not_be_stored_yet(self, storage: Storage) -> None:
        await storage.store_task(a_task("waits", dependencies=["comes later"]))
        assert await ready_and_blocked(storage) == ([], ["waits"])

        await storage.store_task(a_task("comes later"))
        assert await ready_and_blocked(storage) == (["comes later"], ["waits"])
        await complete(storage, "comes later")

        assert await ready_and_blocked(storage) == (["waits"], [])

    async def test_a_dependency_may_be_stored_as_completed(self, storage: Storage) -> None:
        done = a_task("done", status=TaskStatus.COMPLETED)
        await storage.store_task(done)
        await storage.store_task(a_task("after", dependencies=["done"]))
        await storage.store_task(a_task("before", dependencies=["done too"]))

        await storage.store_many([a_task("done too", status=TaskStatus.COMPLETED)])

        assert await ready_and_blocked(storage) == (["after", "before"], [])

    async def test_a_batch_may_hold_a_completed_dependency_and_its_dependent_in_any_order(
        self, storage: Storage
    ) -> None:
        await storage.store_tasks(
            [
                a_task("first", dependencies=["done-1", "done-2"]),
                a_task("done-1", status=TaskStatus.COMPLETED),
                a_task("done-2", status=TaskStatus.COMPLETED),
                a_task("second", dependencies=["done-2", "done-1", "open"]),
                a_task("open"),
            ]
        )

        assert await ready_and_blocked(storage) == (["first", "open"], ["second"])

    async def test_a_dependency_that_is_named_twice_counts_once(self, storage: Storage) -> None:
        task = a_task("waits", dependencies=["a", "b", "a", "a"])
        await storage.store_tasks([a_task("a"), a_task("b"), task])

        await complete(storage, "b")
        assert ids(await storage.get_blocked_tasks()) == ["waits"]
        await complete(storage, "a")

        assert await storage.get_ready_tasks() == [task]
        assert task.dependencies == ["a", "b", "a", "a"]

    async def test_many_wait_for_one_and_one_for_many(self, storage: Storage) -> None:
        middle = [f"middle-{number:02}" for number in range(40)]
        await storage.store_task(a_task("end", dependencies=middle))
        await storage.store_tasks([a_task(id, dependencies=["start"]) for id in middle])
        await storage.store_task(a_task("start"))

        await complete(storage, "start")
        assert await ready_and_blocked(storage) == (middle, ["end"])
        for task in await storage.claim_next_tasks("agent-1", limit=40):
            await storage.complete_task(task)

        assert await ready_and_blocked(storage) == (["end"], [])

    async def test_many_that_complete_at_once_leave_no_task_waiting(self, storage: Storage) -> None:
        names = [f"part-{number}" for number in range(30)]
        await storage.store_tasks([a_task("whole", dependencies=names), *(a_task(id) for id in names)])
        parts = await storage.claim_next_tasks("agent-1", limit=30)

        await asyncio.gather(*(elsewhere(storage.complete_task(part)) for part in parts))

        assert await ready_and_blocked(storage) == (["whole"], [])

    async def test_a_dependency_that_completes_while_its_dependent_is_stored_is_not_missed(
        self, storage: Storage
    ) -> None:
        for number in range(30):
            first = f"first-{number}"
            await storage.store_task(a_task(first))
            task = await claimed(storage)

            await asyncio.gather(
                elsewhere(storage.complete_task(task)),
                elsewhere(storage.store_task(a_task(f"second-{number}", dependencies=[first]))),
            )

            assert (await claimed(storage)).id == f"second-{number}"

    async def test_a_completion_that_is_rolled_back_frees_no_dependent(self, storage: Storage) -> None:
        await storage.store_tasks([a_task("a"), a_task("task", dependencies=["a"])])

        transaction = await storage.begin_transaction()
        await complete(storage, "a")
        assert await ready_and_blocked(storage) == (["task"], [])
        await transaction.rollback()

        assert await ready_and_blocked(storage) == (["a"], ["task"])

    async def test_blocked_tasks_come_by_priority_then_by_arrival(self, storage: Storage) -> None:
        for id, priority, age in (("low", "low", 0), ("first", "high", 2), ("behind", "high", 1), ("last", "high", 2)):
            priority_of = TaskPriority(priority)
            await storage.store_task(a_task(id, priority=priority_of, created_at=after(age), dependencies=["x"]))

        assert ids(await storage.get_blocked_tasks()) == ["first", "behind", "last", "low"]

    async def test_a_task_whose_dependencies_are_completed_still_waits_for_its_time(
        self, storage: Storage, clock: ManualClock
    ) -> None:
        late = a_task("late", dependencies=["a"], run_at=clock.now() + timedelta(seconds=100))
        await storage.store_tasks([a_task("a"), late])
        await complete(storage, "a")

        assert await ready_and_blocked(storage) == ([], [])
        clock.advance(101)
        assert await ready_and_blocked(storage) == (["late"], [])

    async def test_a_random_graph_is_worked_off_in_an_order_that_fits(self, storage: Storage) -> None:
        chance = random.Random(4)
        names = [f"task-{number}" for number in range(60)]
        graph = {id: chance.sample(names[:place], min(place, chance.randrange(4))) for place, id in enumerate(names)}
        order = chance.sample(names, len(names))
        finished: list[str] = []

        async def work(agent_id: str) -> None:
            while len(finished) < len(names):
                task = await storage.claim_next_task(agent_id, wait=0.02)
                if task is not None:
                    # A completion takes effect at its commit, which may be before its caller gets the result.
                    dependencies = [await storage.get_task(id) for id in task.dependencies]
                    assert all(each is not None and each.status is TaskStatus.COMPLETED for each in dependencies)
                    await storage.complete_task(task)
                    finished.append(task.id)

        async def store() -> None:
            for id in order:
                await storage.store_task(a_task(id, dependencies=graph[id]))

        await asyncio.gather(elsewhere(store()), *(elsewhere(work(f"agent-{number}")) for number in range(5)))

        assert sorted(finished) == sorted(names)
