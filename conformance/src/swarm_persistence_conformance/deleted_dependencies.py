"""Facts about dependencies that were deleted, or that were never stored, and about what a task waits for."""

from datetime import timedelta

import pytest

from swarm_persistence import InvalidQueryError, SerializationError, Storage, TaskModel, TaskStatus, UnmetDependency
from swarm_persistence.testing import ManualClock
from swarm_persistence_conformance.held_tasks import claimed, statuses, stored
from swarm_persistence_conformance.records import a_task, ids


@pytest.mark.asyncio
class TestDeletedDependencies:
    """A task that is deleted fails its dependents, as one that is cancelled does."""

    async def test_the_dependents_of_a_deleted_task_fail_with_the_reason(
        self, storage: Storage, clock: ManualClock
    ) -> None:
        await storage.store_tasks([a_task("a"), a_task("b", dependencies=["a"]), a_task("c", dependencies=["b"])])

        await storage.repository(TaskModel).delete("a")

        assert await statuses(storage, ["b", "c"]) == [TaskStatus.FAILED] * 2
        assert (await stored(storage, "b")).error == "the dependency 'a' was deleted"
        assert (await stored(storage, "c")).error == "the dependency 'b' failed because 'a' was deleted"

    async def test_the_deletion_of_a_completed_task_hinders_no_dependent(self, storage: Storage) -> None:
        await storage.store_tasks([a_task("a"), a_task("b", dependencies=["a"])])
        await storage.complete_task(await claimed(storage))

        await storage.repository(TaskModel).delete("a")

        assert ids(await storage.get_ready_tasks()) == ["b"]

    async def test_the_deletion_of_a_task_that_is_not_stored_fails_none_that_waits_for_it(
        self, storage: Storage
    ) -> None:
        await storage.store_task(a_task("b", dependencies=["a"]))

        await storage.repository(TaskModel).delete("a")

        assert ids(await storage.get_blocked_tasks()) == ["b"]

    async def test_a_deletion_that_is_rolled_back_fails_no_dependent(self, storage: Storage) -> None:
        await storage.store_tasks([a_task("a"), a_task("b", dependencies=["a"])])

        transaction = await storage.begin_transaction()
        await storage.repository(TaskModel).delete("a")
        await transaction.rollback()

        assert ids(await storage.get_ready_tasks()) == ["a"]
        assert ids(await storage.get_blocked_tasks()) == ["b"]


@pytest.mark.asyncio
class TestDependencyReads:
    """What a task waits for, and what its dependencies have resulted in."""

    async def test_the_dependencies_of_a_task_come_by_id_in_its_order(self, storage: Storage) -> None:
        await storage.store_tasks([a_task("a"), a_task("b"), a_task("task", dependencies=["b", "z", "a", "b"])])
        await storage.complete_task(await claimed(storage), {"sum": 6})

        found = await storage.get_dependencies(await stored(storage, "task"))

        assert [*found] == ["b", "a"]
        assert found == {id: await stored(storage, id) for id in "ab"}
        assert await storage.get_dependency_results(await stored(storage, "task")) == {"a": {"sum": 6}}
        assert await storage.get_dependencies(await stored(storage, "a")) == {}

    async def test_each_blocked_task_comes_with_what_it_waits_for(self, storage: Storage) -> None:
        await storage.store_tasks(
            [
                a_task("a"),
                a_task("b"),
                a_task("two", dependencies=["b", "a"]),
                a_task("late", dependencies=["a", "later"]),
                a_task("free"),
            ]
        )
        await storage.claim_task("b", "agent-1")

        assert await storage.get_unmet_dependencies(missing_after=10**9) == {
            "two": (UnmetDependency("b", TaskStatus.ASSIGNED), UnmetDependency("a", TaskStatus.PENDING)),
            "late": (UnmetDependency("a", TaskStatus.PENDING), UnmetDependency("later", None)),
        }
        await storage.complete_task(await stored(storage, "b"))
        assert (await storage.get_unmet_dependencies())["two"] == (UnmetDependency("a", TaskStatus.PENDING),)

    async def test_the_dependencies_of_some_blocked_tasks_can_be_asked_for(self, storage: Storage) -> None:
        blocked = [a_task(f"b{n}", dependencies=["z"], priority=("low", "high")[n % 2]) for n in range(4)]
        await storage.store_tasks([*blocked, a_task("free"), a_task("done", dependencies=["free"])])
        await storage.complete_task(await claimed(storage))

        assert ids(await storage.get_blocked_tasks(3)) == ["b1", "b3", "b0"]
        assert await storage.get_blocked_tasks(0) == []
        every = await storage.get_unmet_dependencies()
        assert [*every] == ["b1", "b3", "b0", "b2"]
        asked = await storage.get_unmet_dependencies(task_ids=["b0", "free", "done", "nothing", "b3", "b0"])
        assert asked == {id: every[id] for id in ("b0", "b3")}
        assert await storage.get_unmet_dependencies(task_ids=[]) == {}
        for refused in ("b0", 7, [None]):
            with pytest.raises((InvalidQueryError, SerializationError), match="task_ids"):
                await storage.get_unmet_dependencies(task_ids=refused)  # type: ignore[arg-type]

    async def test_a_dependency_that_is_not_stored_for_long_is_missing(
        self, storage: Storage, clock: ManualClock
    ) -> None:
        await storage.store_tasks(
            [
                a_task("old", dependencies=["tpyo"], created_at=clock.now() - timedelta(seconds=100)),
                a_task("new", dependencies=["later"], created_at=clock.now()),
            ]
        )

        found = await storage.get_unmet_dependencies(missing_after=60)

        assert found["old"] == (UnmetDependency("tpyo", None, is_missing=True),)
        assert found["new"] == (UnmetDependency("later", None),)
