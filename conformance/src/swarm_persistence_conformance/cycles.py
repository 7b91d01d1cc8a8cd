"""Facts about dependency cycles: they are refused, and nothing is written."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from swarm_persistence import DependencyCycleError, Storage, TaskModel, TaskStatus
from swarm_persistence_conformance.callers import elsewhere
from swarm_persistence_conformance.held_tasks import stored
from swarm_persistence_conformance.records import a_task, an_agent, everything_in, ids

STORING: dict[str, Callable[[Storage, TaskModel], Coroutine[Any, Any, Any]]] = {
    "store_task": lambda storage, task: storage.store_task(task),
    "store_tasks": lambda storage, task: storage.store_tasks([a_task("other"), task]),
    "store_many": lambda storage, task: storage.store_many([an_agent(), task]),
    "save": lambda storage, task: storage.repository(TaskModel).save(task),
}
UPDATING: dict[str, Callable[[Storage, TaskModel], Coroutine[Any, Any, Any]]] = {
    "update_task": lambda storage, task: storage.update_task(task),
    "update_task by force": lambda storage, task: storage.update_task(task, force=True),
    "update": lambda storage, task: storage.repository(TaskModel).update(task),
    "save": lambda storage, task: storage.repository(TaskModel).save(task),
}


@pytest.mark.asyncio
class TestCycles:
    """Every verb that writes dependencies refuses cycles."""

    @pytest.mark.parametrize("verb", STORING)
    async def test_a_task_may_not_wait_for_itself(self, storage: Storage, verb: str) -> None:
        task = a_task("self", dependencies=["x", "self"])
        before = await everything_in(storage)

        with pytest.raises(DependencyCycleError, match="'self' → 'self'"):
            await STORING[verb](storage, task)

        assert await everything_in(storage) == before
        assert task.version == 0

    @pytest.mark.parametrize("verb", STORING)
    async def test_a_cycle_through_stored_tasks_is_refused_with_its_path(self, storage: Storage, verb: str) -> None:
        await storage.store_tasks([a_task("b", dependencies=["c"]), a_task("c", dependencies=["d"])])
        await storage.store_task(a_task("d", dependencies=["a", "elsewhere"]))
        before = await everything_in(storage)

        with pytest.raises(DependencyCycleError) as refused:
            await STORING[verb](storage, a_task("a", dependencies=["b"]))

        for edge in ("'a' → 'b'", "'b' → 'c'", "'c' → 'd'", "'d' → 'a'"):
            assert edge in str(refused.value)
        assert await everything_in(storage) == before

    @pytest.mark.parametrize("verb", ["store_tasks", "store_many"])
    @pytest.mark.parametrize("length", [2, 3, 50])
    async def test_a_cycle_within_a_batch_is_refused(self, storage: Storage, verb: str, length: int) -> None:
        batch = [a_task(str(n), dependencies=[str((n + 1) % length)]) for n in range(length)]

        with pytest.raises(DependencyCycleError, match="nothing was written"):
            await getattr(storage, verb)([a_task("innocent"), *batch])

        assert await storage.get_pending_tasks() == []
        assert {task.version for task in batch} == {0}

    async def test_a_batch_that_closes_a_cycle_through_stored_tasks_is_refused(self, storage: Storage) -> None:
        await storage.store_task(a_task("stored", dependencies=["new-2"]))

        with pytest.raises(DependencyCycleError):
            await storage.store_tasks(
                [a_task("new-1", dependencies=["stored"]), a_task("new-2", dependencies=["new-1"])]
            )

        assert ids(await storage.get_pending_tasks()) == ["stored"]

    @pytest.mark.parametrize("verb", UPDATING)
    async def test_an_update_that_closes_a_cycle_is_refused(self, storage: Storage, verb: str) -> None:
        await storage.store_tasks([a_task("a"), a_task("b", dependencies=["a"]), a_task("c", dependencies=["b"])])
        task = await stored(storage, "a")
        before = await everything_in(storage)

        for dependencies in (["c"], ["a"], ["b", "x"]):
            task.dependencies = dependencies
            with pytest.raises(DependencyCycleError):
                await UPDATING[verb](storage, task)

        assert await everything_in(storage) == before
        assert task.version == 1
        assert ids(await storage.get_ready_tasks()) == ["a"]

    @pytest.mark.parametrize("verb", UPDATING)
    async def test_an_update_lets_no_task_wait_for_itself(self, storage: Storage, verb: str) -> None:
        await storage.store_task(a_task("alone"))

        with pytest.raises(DependencyCycleError, match="'alone' → 'alone'"):
            await UPDATING[verb](storage, a_task("alone", dependencies=["alone"], version=1))

        assert ids(await storage.get_ready_tasks()) == ["alone"]

    async def test_what_a_duplicate_depends_on_closes_no_cycle(self, storage: Storage) -> None:
        first = await storage.store_task(a_task("first", idempotency_key="key"))
        await storage.store_task(a_task("behind", dependencies=["self"]))

        alone = await storage.store_task(a_task("self", idempotency_key="key", dependencies=["self", "behind"]))
        new, again = await storage.store_tasks(
            [a_task("new", dependencies=["self"]), a_task("self", idempotency_key="key", dependencies=["new"])]
        )
        _, another, third = await storage.store_tasks(
            [
                a_task("other", idempotency_key="other key", dependencies=["missing"]),
                a_task("another", dependencies=["third"]),
                a_task("third", idempotency_key="other key", dependencies=["another"]),
            ]
        )

        assert alone == again == first
        assert (new.version, another.version, third.id) == (1, 1, "other")
        assert ids(await storage.get_ready_tasks()) == ["first"]
        assert ids(await storage.get_blocked_tasks()) == ["behind", "new", "other", "another"]

    async def test_a_duplicate_hides_no_cycle_of_a_stored_task_of_its_id(self, storage: Storage) -> None:
        await storage.store_task(a_task("f", idempotency_key="key-2"))
        await storage.store_task(a_task("d", idempotency_key="key-1", dependencies=["e", "e"]))
        await storage.store_task(a_task("e", dependencies=["c", "b"]))
        before = await everything_in(storage)

        with pytest.raises(DependencyCycleError):
            await storage.store_tasks(
                [
                    a_task("b", dependencies=["e", "d"]),
                    a_task("e", idempotency_key="key-2", dependencies=["a"]),
                    a_task("d", idempotency_key="key-2", dependencies=["e"]),
                ]
            )

        assert await everything_in(storage) == before

    async def test_a_duplicate_hides_no_cycle_of_a_new_task_of_its_id(self, storage: Storage) -> None:
        await storage.store_task(a_task("known", idempotency_key="key"))

        with pytest.raises(DependencyCycleError):
            await storage.store_tasks(
                [
                    a_task("left", dependencies=["right"]),
                    a_task("right", dependencies=["left"]),
                    a_task("left", idempotency_key="key", dependencies=["elsewhere"]),
                ]
            )

        assert ids(await storage.get_pending_tasks()) == ["known"]

    async def test_a_cycle_does_not_doom_the_transaction(self, storage: Storage) -> None:
        await storage.store_task(a_task("a", dependencies=["b"]))

        async with storage.transaction():
            with pytest.raises(DependencyCycleError):
                await storage.store_task(a_task("b", dependencies=["a"]))
            await storage.store_task(a_task("b", dependencies=["c"]))

        assert ids(await storage.get_blocked_tasks()) == ["a", "b"]

    async def test_what_is_completed_closes_no_cycle(self, storage: Storage) -> None:
        await storage.store_task(a_task("a", status=TaskStatus.COMPLETED, dependencies=[]))
        await storage.store_task(a_task("b", dependencies=["a"]))

        def wait_for_b(task: TaskModel) -> None:
            task.dependencies = ["b"]

        await storage.modify(TaskModel, "a", wait_for_b)

        assert ids(await storage.get_ready_tasks()) == ["b"]

    async def test_a_diamond_is_no_cycle(self, storage: Storage) -> None:
        await storage.store_task(a_task("top", dependencies=["left", "right"]))
        await storage.store_task(a_task("left", dependencies=["bottom"]))
        await storage.store_task(a_task("right", dependencies=["bottom"]))

        await storage.store_task(a_task("bottom"))

        assert ids(await storage.get_ready_tasks()) == ["bottom"]

    async def test_of_two_halves_of_a_cycle_stored_at_once_one_is_refused(self, storage: Storage) -> None:
        for number in range(20):
            left, right = f"left-{number}", f"right-{number}"

            outcomes = await asyncio.gather(
                elsewhere(storage.store_task(a_task(left, dependencies=[right]))),
                elsewhere(storage.store_task(a_task(right, dependencies=[left]))),
                return_exceptions=True,
            )

            assert sorted(type(outcome).__name__ for outcome in outcomes) == ["DependencyCycleError", "TaskModel"]

    async def test_of_three_updates_that_close_a_cycle_together_one_is_refused(self, storage: Storage) -> None:
        for number in range(10):
            tasks = [a_task(f"{number}-{part}") for part in "abc"]
            await storage.store_tasks(tasks)
            for place, task in enumerate(tasks):
                task.dependencies = [tasks[place - 1].id]

            outcomes = await asyncio.gather(
                *(elsewhere(storage.update_task(task)) for task in tasks), return_exceptions=True
            )

            assert sorted(type(outcome).__name__ for outcome in outcomes) == [
                "DependencyCycleError",
                "NoneType",
                "NoneType",
            ]

    async def test_a_deep_graph_is_looked_through(self, storage: Storage) -> None:
        depth = 300
        await storage.store_tasks([a_task(str(n), dependencies=[str(n + 1)]) for n in range(depth)])

        with pytest.raises(DependencyCycleError):
            await storage.store_task(a_task(str(depth), dependencies=["0"]))
        await storage.store_task(a_task(str(depth)))

        assert ids(await storage.get_ready_tasks()) == [str(depth)]
