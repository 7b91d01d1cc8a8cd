"""Facts about the watches and reads with which a program can write a worker of its own."""

import asyncio

import pytest

from swarm_persistence import (
    AgentModel,
    ClosedError,
    InvalidQueryError,
    SerializationError,
    Storage,
    TaskLimit,
    TaskModel,
    TransactionError,
)
from swarm_persistence_conformance.fixtures import OpenStorage
from swarm_persistence_conformance.held_tasks import a_claimed_task, stored
from swarm_persistence_conformance.records import a_task, an_agent, ids
from swarm_persistence_conformance.waiting import FOR_LONG_SECONDS, SOON_SECONDS


@pytest.mark.asyncio
class TestReadyTaskWatches:
    """The contract of `watch_ready_tasks`."""

    async def test_a_task_that_is_stored_after_the_watch_was_made_ends_the_wait(self, storage: Storage) -> None:
        watch = storage.watch_ready_tasks()
        assert await storage.claim_next_task("agent-1") is None
        await storage.store_task(a_task("new"))

        async with asyncio.timeout(SOON_SECONDS):
            assert await watch.wait(FOR_LONG_SECONDS)
        watch.close()

    async def test_a_wait_to_claim_ends_with_a_claim_that_finds_the_task(self, storage: Storage) -> None:
        watch = storage.watch_ready_tasks()
        waiting = asyncio.create_task(watch.wait_to_claim(FOR_LONG_SECONDS))
        await storage.store_task(a_task("new"))

        async with asyncio.timeout(SOON_SECONDS):
            assert await waiting
        assert ids(await storage.claim_next_tasks("agent-1", limit=1)) == ["new"]
        assert not await watch.wait_to_claim(0.05)
        watch.close()

    async def test_the_wait_claims_nothing(self, storage: Storage) -> None:
        watch = storage.watch_ready_tasks()
        await storage.store_task(a_task("new"))
        await watch.wait(FOR_LONG_SECONDS)
        watch.close()

        assert ids(await storage.get_ready_tasks()) == ["new"]

    async def test_a_task_of_another_type_does_not_end_the_wait(self, storage: Storage) -> None:
        watch = storage.watch_ready_tasks(task_types=["mine"])
        await storage.store_task(a_task("new", task_type="other"))

        assert not await watch.wait(0.05)
        watch.close()

    @pytest.mark.parametrize("types", [{"task_types": []}, {"task_types": ["a"], "capabilities": ["b"]}])
    async def test_a_watch_of_no_type_sees_no_task(self, storage: Storage, types: dict[str, list[str]]) -> None:
        watch = storage.watch_ready_tasks(**types)
        await storage.store_task(a_task("new"))

        assert not await watch.wait(0.05)
        watch.close()

    async def test_a_task_that_waits_for_another_does_not_end_the_wait(self, storage: Storage) -> None:
        watch = storage.watch_ready_tasks(task_types=["mine"])
        await storage.store_tasks(
            [a_task("first", task_type="other"), a_task("second", task_type="mine", dependencies=["first"])]
        )

        assert not await watch.wait(0.05)
        watch.close()

    async def test_the_completion_of_its_dependency_ends_the_wait_for_a_task(self, storage: Storage) -> None:
        first = await a_claimed_task(storage, "first")
        await storage.store_task(a_task("second", dependencies=["first"]))
        watch = storage.watch_ready_tasks()
        await storage.complete_task(first)

        async with asyncio.timeout(SOON_SECONDS):
            assert await watch.wait(FOR_LONG_SECONDS)
        watch.close()

    async def test_a_closed_storage_ends_the_wait(self, open_storage: OpenStorage) -> None:
        async with open_storage() as storage:
            watch = storage.watch_ready_tasks()
            waiting = asyncio.create_task(watch.wait(FOR_LONG_SECONDS))
            await storage.get_task("none")
            await storage.close()

            with pytest.raises(ClosedError):
                await waiting

    async def test_a_negative_time_is_refused(self, storage: Storage) -> None:
        watch = storage.watch_ready_tasks()

        with pytest.raises(InvalidQueryError, match="within is -1"):
            await watch.wait(-1)
        watch.close()

    async def test_a_transaction_has_none(self, storage: Storage) -> None:
        async with storage.transaction():
            with pytest.raises(TransactionError, match="watch_ready_tasks"):
                storage.watch_ready_tasks()


@pytest.mark.asyncio
class TestCommitWatches:
    """The contract of `watch_commits`."""

    async def test_a_commit_to_the_model_ends_the_wait(self, storage: Storage) -> None:
        watch = storage.watch_commits(AgentModel, TaskModel)
        await storage.store_agent(an_agent())

        async with asyncio.timeout(SOON_SECONDS):
            assert await watch.wait(FOR_LONG_SECONDS)
        watch.close()

    async def test_each_change_of_a_limit_ends_the_wait(self, storage: Storage) -> None:
        watch = storage.watch_commits(TaskLimit)
        changes = (
            lambda: storage.set_limit("a", running=1),
            lambda: storage.set_limit("a", running=2),
            lambda: storage.delete_limit("a"),
        )
        for change in changes:
            await change()
            async with asyncio.timeout(SOON_SECONDS):
                assert await watch.wait(FOR_LONG_SECONDS)
        watch.close()

    async def test_without_a_model_it_is_refused(self, storage: Storage) -> None:
        with pytest.raises(InvalidQueryError, match="models is empty"):
            storage.watch_commits()

    async def test_a_class_that_is_no_model_is_refused(self, storage: Storage) -> None:
        with pytest.raises(InvalidQueryError, match="dict"):
            storage.watch_commits(dict)  # type: ignore[arg-type]

    async def test_a_transaction_has_none(self, storage: Storage) -> None:
        async with storage.transaction():
            with pytest.raises(TransactionError, match="watch_commits"):
                storage.watch_commits(TaskModel)


@pytest.mark.asyncio
class TestHeldClaims:
    """The contract of `get_held_claims`."""

    async def test_only_claims_that_still_hold_are_returned(self, storage: Storage) -> None:
        held, cancelled, completed, released = [await a_claimed_task(storage, name) for name in "abcd"]
        await storage.cancel_task("b")
        await storage.complete_task(await stored(storage, "c"))
        await storage.release_task(await stored(storage, "d"))

        found = await storage.get_held_claims([held, cancelled, completed, released])

        assert [task is held for task in found] == [True]

    async def test_a_claim_is_not_taken_for_the_next_one_of_its_task(self, storage: Storage) -> None:
        first = await a_claimed_task(storage, "a")
        await storage.release_task(await stored(storage, "a"))
        await storage.claim_task("a", "agent-1")
        second = await stored(storage, "a")

        found = await storage.get_held_claims([first, second])

        assert [task is second for task in found] == [True]

    async def test_of_no_claims_none_holds(self, storage: Storage) -> None:
        assert await storage.get_held_claims([]) == []

    async def test_what_is_no_task_is_refused(self, storage: Storage) -> None:
        with pytest.raises(SerializationError, match="TaskModel"):
            await storage.get_held_claims([an_agent()])  # type: ignore[list-item]
