"""Facts about waiting for a task: which commits end the wait."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from swarm_persistence import ClosedError, Storage, TaskModel, TaskStatus, TransactionError
from swarm_persistence.testing import now
from swarm_persistence_conformance.callers import elsewhere
from swarm_persistence_conformance.fixtures import OpenStorage
from swarm_persistence_conformance.held_tasks import a_claimed_task, claimed, stored
from swarm_persistence_conformance.records import a_message, a_task, an_agent, an_event, ids

SOON_SECONDS = 3.0
"""A waiter that is notified has its task within this: longer than a commit takes, shorter than the fallback polls."""
FOR_LONG_SECONDS = 30.0
LIMIT_SECONDS = 20.0
"""Ends what would hang: more than anything that is waited for takes on a loaded machine."""


async def settle(storage: Storage) -> None:
    """Read often enough for callers that were started before to be waiting by now."""
    for _ in range(30):
        await storage.get_task("none")


async def begun(storage: Storage) -> None:
    """Let callers that were started before read what is stored, and begin to wait."""
    await settle(storage)
    for _ in range(50):
        await asyncio.sleep(0)


@asynccontextmanager
async def waiter(storage: Storage, **options: Any) -> "AsyncIterator[asyncio.Task[TaskModel | None]]":
    """Start an agent that waits for a task; the block must make one ready."""
    waiting = elsewhere(storage.claim_next_task("waiter", wait=FOR_LONG_SECONDS, **options))
    await settle(storage)
    assert not waiting.done()
    async with asyncio.timeout(SOON_SECONDS):
        yield waiting
        await waiting


async def complete_what_others_wait_for(storage: Storage) -> None:
    await storage.complete_task(await stored(storage, "first"))


async def store_in_a_transaction(storage: Storage) -> None:
    async with storage.transaction():
        await storage.store_task(a_task("new"))
        await storage.store_event(an_event())


async def update_to_pending(storage: Storage) -> None:
    def back(task: TaskModel) -> None:
        task.status, task.assigned_to = TaskStatus.PENDING, None

    await storage.modify(TaskModel, "first", back)


async def release(storage: Storage) -> None:
    await storage.release_task(await stored(storage, "first"))


async def fail_to_be_tried_at_once(storage: Storage) -> None:
    await storage.fail_task(await stored(storage, "first"), "no luck", retry_in=0)


WAKING: list[tuple[str, Callable[[Storage], Coroutine[Any, Any, Any]]]] = [
    ("new", lambda storage: storage.store_task(a_task("new"))),
    ("new", lambda storage: storage.store_tasks([a_task("newer", dependencies=["new"]), a_task("new")])),
    ("new", lambda storage: storage.store_many([an_event(), a_task("new")])),
    ("new", lambda storage: storage.repository(TaskModel).save(a_task("new"))),
    ("new", store_in_a_transaction),
    ("second", complete_what_others_wait_for),
    ("first", release),
    ("first", fail_to_be_tried_at_once),
    ("first", update_to_pending),
    ("first", lambda storage: storage.delete_agent("agent-1")),
]
"""The task that becomes ready, and the commit that makes it so."""


@pytest.mark.asyncio
class TestWaiting:
    """The contract of `wait`."""

    @pytest.mark.parametrize(("id", "commit"), WAKING)
    async def test_a_commit_that_makes_a_task_ready_ends_the_wait(
        self, storage: Storage, id: str, commit: Callable[[Storage], Coroutine[Any, Any, Any]]
    ) -> None:
        await storage.store_agent(an_agent())
        await a_claimed_task(storage, "first")
        await storage.store_task(a_task("second", dependencies=["first"]))

        async with waiter(storage) as waiting:
            await commit(storage)

        task = waiting.result()
        assert task is not None
        assert (task.id, task.assigned_to) == (id, "waiter")
        assert task == await stored(storage, id)

    async def test_a_task_that_is_there_is_claimed_without_a_wait(self, storage: Storage) -> None:
        await storage.store_task(a_task())

        async with asyncio.timeout(SOON_SECONDS):
            task = await storage.claim_next_task("agent-1", wait=FOR_LONG_SECONDS)

        assert task is not None

    async def test_a_retry_that_becomes_due_ends_the_wait(self, storage: Storage) -> None:
        task = await a_claimed_task(storage)

        async with waiter(storage) as waiting:
            await storage.fail_task(task, "once more", retry_in=0.3)
            failed = await stored(storage)

        again = waiting.result()
        assert again is not None
        assert (again.id, again.retry_count, again.claim_count) == ("task-1", 1, 2)
        assert again.started_at is not None
        assert failed.run_at is not None
        assert again.started_at >= failed.run_at  # both by the clock of the database

    async def test_a_delayed_task_that_becomes_due_ends_the_wait(self, storage: Storage) -> None:
        await storage.store_task(a_task("far", run_at=now() + timedelta(hours=1)))

        async with waiter(storage) as waiting:
            await storage.store_task(a_task("near", run_at=now() + timedelta(seconds=0.2)))

        task = waiting.result()
        assert task is not None
        assert task.id == "near"

    async def test_what_is_not_for_the_waiter_does_not_end_the_wait(self, storage: Storage) -> None:
        async with waiter(storage, task_types=["mine"]) as waiting:
            await storage.store_task(a_task("other", task_type="other"))
            await storage.store_task(a_task("blocked", task_type="mine", dependencies=["never"]))
            await storage.store_task(a_task("late", task_type="mine", run_at=now() + timedelta(hours=1)))
            await storage.store_message(a_message())
            await settle(storage)
            assert not waiting.done()
            await storage.store_task(a_task("mine", task_type="mine"))

        task = waiting.result()
        assert task is not None
        assert task.id == "mine"

    async def test_what_is_rolled_back_does_not_end_the_wait(self, storage: Storage) -> None:
        async with waiter(storage) as waiting:
            transaction = await storage.begin_transaction()
            await storage.store_task(a_task("undone"))
            await transaction.rollback()
            await settle(storage)
            assert not waiting.done()
            await storage.store_task(a_task("kept"))

        task = waiting.result()
        assert task is not None
        assert task.id == "kept"

    @pytest.mark.parametrize("wait", [0.05, timedelta(milliseconds=50)])
    async def test_a_wait_for_nothing_ends_when_its_time_is_up(self, storage: Storage, wait: float | timedelta) -> None:
        for claim in (
            lambda: storage.claim_next_task("agent-1", wait=wait),
            lambda: storage.claim_next_tasks("agent-1", limit=3, wait=wait),
        ):
            is_nearly_up = asyncio.Event()
            asyncio.get_running_loop().call_later(0.04, is_nearly_up.set)  # browsers round their clocks
            async with asyncio.timeout(SOON_SECONDS):
                assert not await claim()
            assert is_nearly_up.is_set()

    async def test_a_wait_for_no_type_at_all_is_over_at_once(self, storage: Storage) -> None:
        async with asyncio.timeout(SOON_SECONDS):
            assert await storage.claim_next_task("agent-1", task_types=[], wait=FOR_LONG_SECONDS) is None
            assert await storage.claim_next_tasks("agent-1", limit=0, wait=FOR_LONG_SECONDS) == []

    async def test_several_are_given_as_soon_as_there_is_one(self, storage: Storage) -> None:
        waiting = elsewhere(storage.claim_next_tasks("waiter", limit=5, wait=FOR_LONG_SECONDS))
        await settle(storage)

        await storage.store_tasks([a_task("1"), a_task("2")])

        async with asyncio.timeout(SOON_SECONDS):
            assert ids(await waiting) == ["1", "2"]

    async def test_each_of_many_waiters_gets_a_task_of_its_own(self, storage: Storage) -> None:
        waiting = [elsewhere(storage.claim_next_task(f"w-{n}", wait=FOR_LONG_SECONDS)) for n in range(20)]
        await settle(storage)

        for number in range(20):
            await storage.store_task(a_task(f"task-{number}"))

        async with asyncio.timeout(SOON_SECONDS * 2):
            tasks = await asyncio.gather(*waiting)
        assert sorted(task.id for task in tasks if task) == sorted(f"task-{number}" for number in range(20))

    async def test_waiters_and_workers_pass_a_chain_of_tasks_on_without_a_pause(self, storage: Storage) -> None:
        length = 15
        await storage.store_tasks(
            [a_task(f"{n}", dependencies=[f"{n - 1}"] if n else []) for n in reversed(range(length))]
        )

        async def work(agent_id: str) -> list[str]:
            done: list[str] = []
            while not (last := await stored(storage, f"{length - 1}")).completed_at:
                assert last.status is not TaskStatus.FAILED
                if task := await storage.claim_next_task(agent_id, wait=SOON_SECONDS):
                    await storage.complete_task(task)
                    done.append(task.id)
                    if task.id == f"{length - 1}":
                        # The other waiters would wait for tasks that are never stored.
                        await storage.store_many([a_task("rest-1"), a_task("rest-2")])
            return done

        async with asyncio.timeout(SOON_SECONDS * 3):
            shares = await asyncio.gather(*(elsewhere(work(f"agent-{number}")) for number in range(3)))

        assert sorted(int(id) for done in shares for id in done if "rest" not in id) == list(range(length))

    async def test_a_wait_within_a_transaction_is_refused(self, storage: Storage) -> None:
        await storage.store_task(a_task())

        async with storage.transaction():
            with pytest.raises(TransactionError, match="waiting"):
                await storage.claim_next_task("agent-1", wait=1)
            await storage.store_task(a_task("task-2"))

        assert ids(await storage.get_ready_tasks()) == ["task-1", "task-2"]

    async def test_a_wait_holds_nothing_that_others_need(self, storage: Storage) -> None:
        async with waiter(storage):
            for number in range(5):
                async with storage.transaction():
                    await storage.store_event(an_event(f"event-{number}"))
            await storage.checkpoint()
            await storage.store_task(a_task())

    async def test_a_cancelled_wait_takes_no_task(self, storage: Storage) -> None:
        waiting = elsewhere(storage.claim_next_task("waiter", wait=FOR_LONG_SECONDS))
        await settle(storage)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)

        await storage.store_task(a_task())

        assert (await claimed(storage, "other")).id == "task-1"

    async def test_closing_the_storage_ends_the_wait(self, open_storage: OpenStorage) -> None:
        async with open_storage() as storage:
            waiting = elsewhere(storage.claim_next_task("waiter", wait=FOR_LONG_SECONDS))
            await settle(storage)

            await storage.close()

            async with asyncio.timeout(SOON_SECONDS):
                with pytest.raises(ClosedError):
                    await waiting
