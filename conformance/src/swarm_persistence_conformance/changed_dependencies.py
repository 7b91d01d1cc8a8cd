"""Facts about dependencies that change: by an update, by a save, or because a task is deleted and stored again."""

import asyncio

import pytest

from swarm_persistence import ConflictError, DependencyCycleError, Storage, TaskModel, TaskStatus
from swarm_persistence_conformance.dependencies import complete, ready_and_blocked
from swarm_persistence_conformance.held_tasks import stored
from swarm_persistence_conformance.records import a_task, ids


async def _write_as(storage: Storage, id: str, status: TaskStatus, how: str) -> None:
    task = await stored(storage, id)
    task.status = status
    if how == "save":
        await storage.repository(TaskModel).save(task)
    else:
        await storage.update_task(task, force=how == "force")


@pytest.mark.asyncio
class TestChangedDependencies:
    """A task waits for its current dependencies, in their current state."""

    async def test_an_update_to_completed_lets_dependents_go_on(self, storage: Storage) -> None:
        first = a_task("first")
        await storage.store_tasks([first, a_task("second", dependencies=["first"])])
        first.status = TaskStatus.COMPLETED

        await storage.update_task(first)

        assert await ready_and_blocked(storage) == (["second"], [])

    async def test_a_save_as_completed_lets_dependents_go_on(self, storage: Storage) -> None:
        await storage.store_task(a_task("second", dependencies=["first"]))
        await storage.store_task(a_task("third", dependencies=["second"]))

        await storage.repository(TaskModel).save(a_task("first", status=TaskStatus.COMPLETED))
        assert await ready_and_blocked(storage) == (["second"], ["third"])
        await storage.repository(TaskModel).save(
            a_task("second", dependencies=["first"], status=TaskStatus.COMPLETED, version=1)
        )

        assert await ready_and_blocked(storage) == (["third"], [])

    @pytest.mark.parametrize("how", ["update", "force", "save"])
    async def test_a_task_that_is_completed_no_longer_keeps_its_unfinished_dependents_back(
        self, storage: Storage, how: str
    ) -> None:
        tasks = [a_task("ready", dependencies=["a"]), a_task("waits", dependencies=["a", "b"])]
        done = a_task("done", dependencies=["a"], status=TaskStatus.COMPLETED)
        held = a_task("held", dependencies=["a"], status=TaskStatus.RUNNING, assigned_to="agent-1")
        await storage.store_tasks([a_task("a"), a_task("b"), *tasks, done, held])
        await complete(storage, "a")
        assert await ready_and_blocked(storage) == (["b", "ready"], ["waits"])

        await _write_as(storage, "a", TaskStatus.PENDING, how)

        assert await ready_and_blocked(storage) == (["a", "b"], ["ready", "waits"])
        await storage.release_task(await stored(storage, "held"))
        assert await ready_and_blocked(storage) == (["a", "b"], ["ready", "waits", "held"])
        await complete(storage, "a")
        assert await ready_and_blocked(storage) == (["b", "ready", "held"], ["waits"])
        await complete(storage, "b")
        assert await ready_and_blocked(storage) == (["ready", "waits", "held"], [])

    @pytest.mark.parametrize("status", [TaskStatus.FAILED, TaskStatus.CANCELLED])
    async def test_a_task_that_was_completed_and_then_failed_fails_its_pending_dependents(
        self, storage: Storage, status: TaskStatus
    ) -> None:
        await storage.store_tasks([a_task("a"), a_task("second", dependencies=["a"])])
        await complete(storage, "a")

        await _write_as(storage, "a", status, "update")

        assert (await stored(storage, "second")).status is TaskStatus.FAILED

    async def test_a_task_that_is_completed_no_longer_may_not_wait_for_those_that_wait_for_it(
        self, storage: Storage
    ) -> None:
        await storage.store_tasks([a_task("a"), a_task("second", dependencies=["a"])])
        await complete(storage, "a")
        before = await stored(storage, "a")
        again = await stored(storage, "a")
        again.status, again.dependencies = TaskStatus.PENDING, ["second"]

        with pytest.raises(DependencyCycleError, match="wait for each other forever"):
            await storage.update_task(again)

        assert await stored(storage, "a") == before
        assert await ready_and_blocked(storage) == (["second"], [])

    async def test_a_stale_copy_does_not_set_a_completed_task_back(self, storage: Storage) -> None:
        await storage.store_tasks([a_task("a"), a_task("second", dependencies=["a"])])
        stale = await stored(storage, "a")
        await complete(storage, "a")

        with pytest.raises(ConflictError, match="has changed since it was read"):
            await storage.update_task(stale)
        with pytest.raises(ConflictError, match="has changed since it was read"):
            await storage.repository(TaskModel).save(stale)

        assert await ready_and_blocked(storage) == (["second"], [])

    async def test_an_update_may_change_what_a_task_waits_for(self, storage: Storage) -> None:
        task = a_task("task", dependencies=["a"])
        await storage.store_tasks([a_task("a"), a_task("b"), a_task("done", status=TaskStatus.COMPLETED), task])

        task.dependencies = ["b", "done"]
        await storage.update_task(task)
        await complete(storage, "a")
        assert await ready_and_blocked(storage) == (["b"], ["task"])
        await complete(storage, "b")

        assert await ready_and_blocked(storage) == (["task"], [])

    async def test_an_update_may_free_a_task_or_let_it_wait(self, storage: Storage) -> None:
        freed, waiting = a_task("freed", dependencies=["never"]), a_task("waiting")
        await storage.store_tasks([freed, waiting])
        freed.dependencies, waiting.dependencies = [], ["freed"]

        await storage.update_task(freed)
        await storage.repository(TaskModel).update(waiting)

        assert await ready_and_blocked(storage) == (["freed"], ["waiting"])

    async def test_an_update_of_something_else_leaves_a_task_waiting(self, storage: Storage) -> None:
        task = a_task("task", dependencies=["a", "b"])
        await storage.store_tasks([a_task("a"), a_task("b"), task])
        await complete(storage, "a")

        task.payload = "new"
        await storage.update_task(task)

        assert await ready_and_blocked(storage) == (["b"], ["task"])
        await complete(storage, "b")
        assert ids(await storage.get_ready_tasks()) == ["task"]

    async def test_a_refused_update_changes_nothing_that_a_task_waits_for(self, storage: Storage) -> None:
        await storage.store_tasks([a_task("a"), a_task("task", dependencies=["a"])])
        before = await ready_and_blocked(storage)

        outcomes = await asyncio.gather(
            storage.update_task(a_task("task", version=7)),
            storage.repository(TaskModel).save(a_task("task", dependencies=["x"], version=7)),
            storage.store_task(a_task("task", dependencies=["x"])),
            return_exceptions=True,
        )

        assert [type(outcome).__name__ for outcome in outcomes] == ["ConflictError"] * 3
        await complete(storage, "a")
        assert (before, await ready_and_blocked(storage)) == ((["a"], ["task"]), (["task"], []))

    async def test_a_task_that_does_not_fail_with_a_deleted_one_waits_for_the_next_one_of_its_id(
        self, storage: Storage
    ) -> None:
        await storage.store_tasks([a_task("a"), a_task("task", dependencies=["a"], fails_with_dependencies=False)])

        await storage.repository(TaskModel).delete("a")
        assert await ready_and_blocked(storage) == ([], ["task"])
        await storage.store_task(a_task("a"))
        await complete(storage, "a")

        assert await ready_and_blocked(storage) == (["task"], [])

    async def test_a_deleted_task_that_is_stored_anew_waits_only_for_its_new_dependencies(
        self, storage: Storage
    ) -> None:
        await storage.store_tasks([a_task("a"), a_task("b"), a_task("task", dependencies=["a", "b"])])
        await storage.repository(TaskModel).delete("task")

        await storage.store_task(a_task("task", dependencies=["b"]))
        await complete(storage, "b")

        assert await ready_and_blocked(storage) == (["a", "task"], [])
