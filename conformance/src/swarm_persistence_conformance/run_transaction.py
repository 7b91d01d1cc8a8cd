"""Facts about `run_transaction`: work in a transaction that is retried after a collision."""

import pytest

from swarm_persistence import CollisionError, ConflictError, Storage, TaskModel
from swarm_persistence_conformance.callers import elsewhere
from swarm_persistence_conformance.records import a_task, ids


@pytest.mark.asyncio
class TestRunTransaction:
    """The contract of `run_transaction`."""

    async def test_it_commits_and_returns_what_the_work_returns(self, storage: Storage) -> None:
        async def work() -> str:
            await storage.store_task(a_task("1"))
            await storage.store_task(a_task("2"))
            return "done"

        assert await storage.run_transaction(work) == "done"
        assert ids(await elsewhere(storage.get_pending_tasks())) == ["1", "2"]

    async def test_an_exception_rolls_back_and_passes_at_once(self, storage: Storage) -> None:
        calls: list[int] = []

        async def work() -> None:
            calls.append(1)
            await storage.store_task(a_task("1"))
            await storage.store_task(a_task("1"))

        with pytest.raises(ConflictError):
            await storage.run_transaction(work)
        assert len(calls) == 1
        assert await storage.get_task("1") is None

    async def test_after_a_collision_all_of_it_is_done_again(self, storage: Storage) -> None:
        calls: list[int] = []
        task = a_task()

        async def work() -> int:
            calls.append(task.version)
            await storage.store_task(task)
            if len(calls) < 3:
                raise CollisionError("another transaction was in the way")
            return len(calls)

        assert await storage.run_transaction(work) == 3
        assert calls == [0, 0, 0]
        assert ids(await storage.repository(TaskModel).find_all()) == ["task-1"]

    async def test_it_gives_up_after_so_many_attempts(self, storage: Storage) -> None:
        calls: list[int] = []

        async def work() -> None:
            calls.append(1)
            raise CollisionError("another transaction was in the way")

        with pytest.raises(CollisionError):
            await storage.run_transaction(work, attempts=4)
        assert len(calls) == 4

    async def test_within_a_transaction_the_outer_one_has_to_be_repeated(self, storage: Storage) -> None:
        calls: list[int] = []

        async def work() -> None:
            calls.append(1)
            raise CollisionError("another transaction was in the way")

        async with storage.transaction():
            with pytest.raises(CollisionError):
                await storage.run_transaction(work)

        assert len(calls) == 1
