"""Facts about threads, each with an event loop of its own."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context
from typing import Any, TypeVar

import pytest

from swarm_persistence import ConflictError, Storage, TaskModel
from swarm_persistence_conformance.records import a_task, an_event, ids

T = TypeVar("T")


async def in_threads(count: int, job: Callable[[int], Coroutine[Any, Any, T]]) -> list[T]:
    """Run a job in `count` threads at once, each in a loop of its own, and return the results."""
    start = threading.Barrier(count)

    def run(number: int) -> T:
        start.wait()
        return asyncio.run(job(number))

    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(count) as threads:
        # An empty context, so that no thread inherits the transaction of the test.
        runs = [loop.run_in_executor(threads, Context().run, run, number) for number in range(count)]
        return await asyncio.gather(*runs)


@pytest.mark.asyncio
class TestThreads:
    """Threads and event loops can share a storage."""

    async def test_of_many_threads_that_claim_a_task_exactly_one_wins(self, storage: Storage) -> None:
        await storage.store_task(a_task())

        won = await in_threads(8, lambda number: storage.claim_task("task-1", f"agent-{number}"))

        assert sorted(won) == [False] * 7 + [True]

    async def test_what_one_thread_has_stored_another_reads(self, storage: Storage) -> None:
        await in_threads(1, lambda _: storage.store_task(a_task()))

        (found,) = await in_threads(1, lambda _: storage.get_task("task-1"))

        assert found == a_task(version=1)

    async def test_threads_that_write_at_once_all_succeed(self, storage: Storage) -> None:
        async def write(thread: int) -> list[int]:
            events = [an_event(f"{thread}-{number}") for number in range(25)]
            for event in events:
                await storage.store_event(event)
            return [event.sequence or 0 for event in events]

        sequences = await in_threads(6, write)

        assert len({sequence for own in sequences for sequence in own}) == 150
        assert all(own == sorted(own) for own in sequences)

    async def test_read_modify_write_in_many_threads_loses_nothing(self, storage: Storage) -> None:
        await storage.store_task(a_task(payload=0))

        async def count_up(_: int) -> None:
            for _ in range(5):
                async with storage.transaction():
                    task = await storage.get_task("task-1")
                    assert task is not None
                    task.payload += 1
                    await storage.update_task(task)

        await in_threads(6, count_up)

        task = await storage.get_task("task-1")
        assert task is not None
        assert task.payload == 30

    async def test_a_thread_sees_committed_data_only(self, storage: Storage) -> None:
        async with storage.transaction():
            await storage.store_task(a_task())
            inside = await in_threads(2, lambda _: storage.get_task("task-1"))
        after = await in_threads(2, lambda _: storage.get_task("task-1"))

        assert (inside, after) == ([None, None], [a_task(version=1)] * 2)

    async def test_calls_of_threads_in_copies_of_its_context_join_the_transaction(self, storage: Storage) -> None:
        async def write(name: str) -> list[str]:
            await storage.store_task(a_task(name))
            async with storage.transaction():
                await storage.store_task(a_task(f"{name}-nested"))
            with pytest.raises(ConflictError):
                async with storage.transaction():
                    await storage.store_task(a_task(name))
            return ids(await storage.get_pending_tasks())

        def run(name: str) -> list[str]:
            return asyncio.run(write(name))

        transaction = await storage.begin_transaction()
        await storage.store_task(a_task("first"))
        await asyncio.gather(*[asyncio.to_thread(run, name) for name in "ab"])  # copies the context
        inside = sorted(ids(await storage.get_pending_tasks()))
        await transaction.rollback()

        assert inside == ["a", "a-nested", "b", "b-nested", "first"]
        assert await storage.get_pending_tasks() == []

    async def test_a_thread_waits_to_write_until_the_transaction_of_another_is_over(self, storage: Storage) -> None:
        is_started = threading.Event()

        async def write(_: int) -> None:
            is_started.set()
            await storage.store_task(a_task("theirs"))

        transaction = await storage.begin_transaction()
        writing = asyncio.create_task(in_threads(1, write), context=Context())
        await asyncio.to_thread(is_started.wait)
        await storage.store_task(a_task("ours"))
        has_waited = not writing.done()
        await transaction.commit()
        await writing

        assert (has_waited, ids(await storage.get_pending_tasks())) == (True, ["ours", "theirs"])

    async def test_transactions_of_many_threads_do_not_mix(self, storage: Storage) -> None:
        async def keep_or_undo(number: int) -> None:
            transaction = await storage.begin_transaction()
            await storage.store_task(a_task(f"{number}-1"))
            await storage.store_task(a_task(f"{number}-2"))
            await (transaction.rollback() if number % 2 else transaction.commit())

        await in_threads(6, keep_or_undo)

        stored = sorted(ids(await storage.repository(TaskModel).find_all()))
        assert stored == [f"{number}-{part}" for number in (0, 2, 4) for part in (1, 2)]
