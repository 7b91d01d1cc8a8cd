"""How a worker stops: what it still does, and what it hands back."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from swarm_persistence import AgentModel, AgentStatus, OtherError, Storage, TaskModel, TaskStatus, TransactionError
from swarm_persistence.worker import registration
from swarm_persistence_conformance.records import MOMENT, an_agent
from swarm_persistence_conformance.waiting import LIMIT_SECONDS
from worker.workers import a_worker, soon, store


class Handler:
    """Waits until it may go on, or forever."""

    def __init__(self) -> None:
        self.begun, self.may_go, self.cancelled = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def __call__(self, task: TaskModel) -> str:
        self.begun.set()
        try:
            await self.may_go.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return "done"


async def each_tick() -> AsyncIterator[None]:
    """Let the others in the loop go on, again and again."""
    while True:
        await asyncio.sleep(0)
        yield


async def task_of(storage: Storage, id: str = "a") -> TaskModel:
    task = await storage.get_task(id)
    assert task is not None
    return task


async def assert_given_back(storage: Storage, id: str = "a") -> None:
    task = await task_of(storage, id)
    assert (task.status, task.assigned_to, task.retry_count) == (TaskStatus.PENDING, None, 0)
    assert (task.lease_expires_at, task.error) == (None, None)


async def test_at_the_end_of_the_block_what_runs_is_finished_and_nothing_new_is_begun(storage: Storage) -> None:
    handler = Handler()
    await store(storage, "a", "b")
    async with a_worker(storage, {"work": handler}, concurrency=1) as worker:
        await soon(handler.begun)
        worker.stop()
        handler.may_go.set()
    assert (await task_of(storage, "a")).result == "done"
    assert [task.id for task in await storage.get_pending_tasks()] == ["b"]
    assert (await task_of(storage, "b")).claim_count == 0


async def test_run_returns_once_a_worker_that_was_told_to_stop_has_drained(storage: Storage) -> None:
    handler = Handler()
    await store(storage, "a")
    async with a_worker(storage, {"work": handler}) as worker:
        running = asyncio.create_task(worker.run())
        await soon(handler.begun)
        await asyncio.to_thread(worker.stop)
        assert not running.done()
        handler.may_go.set()
        async with asyncio.timeout(LIMIT_SECONDS):
            await running
        assert (await task_of(storage)).result == "done"
    worker.stop()  # once more does nothing


async def test_what_is_not_finished_in_time_is_handed_back(storage: Storage) -> None:
    handler = Handler()
    await store(storage, "a")
    async with a_worker(storage, {"work": handler}, drain_timeout=0.1) as worker:
        await soon(handler.begun)
    assert handler.cancelled.is_set()
    await assert_given_back(storage)
    assert worker.outcomes == {"given back": 1}


async def test_stopped_at_once_it_hands_back_what_runs(storage: Storage) -> None:
    handler = Handler()
    await store(storage, "a")
    async with a_worker(storage, {"work": handler}) as worker:
        await soon(handler.begun)
        worker.stop_at_once()
        await worker.run()
    await assert_given_back(storage)


async def test_an_error_that_leaves_the_block_hands_back_what_runs(storage: Storage) -> None:
    handler = Handler()
    await store(storage, "a")
    with pytest.raises(LookupError, match="something else"):  # noqa: PT012 - the block is what is looked at
        async with a_worker(storage, {"work": handler}):
            await soon(handler.begun)
            raise LookupError("something else")
    await assert_given_back(storage)


async def test_a_cancelled_block_hands_back_what_runs(storage: Storage) -> None:
    handler = Handler()

    async def work() -> None:
        async with a_worker(storage, {"work": handler}) as worker:
            await worker.run()

    await store(storage, "a")
    working = asyncio.create_task(work())
    await soon(handler.begun)
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    await assert_given_back(storage)


async def test_a_cancellation_while_it_drains_hands_back_what_runs(storage: Storage) -> None:
    handler, leaving = Handler(), asyncio.Event()

    async def work() -> None:
        async with a_worker(storage, {"work": handler}):
            await soon(handler.begun)
            leaving.set()

    await store(storage, "a")
    working = asyncio.create_task(work())
    await soon(leaving)
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    await assert_given_back(storage)


async def test_what_is_claimed_while_the_stop_comes_is_handed_back(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = storage.claim_next_tasks

    async def claim_and_stop(*arguments: Any, **options: Any) -> list[TaskModel]:
        tasks = await claim(*arguments, **options)
        if tasks:
            worker.stop()
            await asyncio.sleep(0)  # the stop is there before the claim's result is
        return tasks

    monkeypatch.setattr(storage, "claim_next_tasks", claim_and_stop)
    handler = Handler()
    await store(storage, "a", "b")
    async with a_worker(storage, {"work": handler}) as worker:
        async with asyncio.timeout(LIMIT_SECONDS):
            await worker.run()
    await assert_given_back(storage, "a")
    await assert_given_back(storage, "b")
    assert worker.outcomes == {"given back": 2}


async def test_a_handler_that_ignores_its_cancellation_does_not_block_the_stop(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("swarm_persistence.worker.task_runs.CANCEL_GRACE_SECONDS", 0.05)
    begun, go = asyncio.Event(), asyncio.Event()

    async def ignore(_: TaskModel) -> None:
        begun.set()
        while not go.is_set():
            try:
                await go.wait()
            except asyncio.CancelledError:
                continue

    await store(storage, "a")
    async with a_worker(storage, {"work": ignore}) as worker:
        await soon(begun)
        worker.stop_at_once()
    await assert_given_back(storage)
    go.set()


async def test_a_thread_that_does_not_end_does_not_block_the_stop(storage: Storage) -> None:
    begun, go = threading.Event(), threading.Event()

    def hang(_: TaskModel) -> None:
        begun.set()
        go.wait()

    await store(storage, "a")
    async with a_worker(storage, {"work": hang}, drain_timeout=0.05):
        await asyncio.to_thread(begun.wait)
    await assert_given_back(storage)
    go.set()


async def test_its_agent_is_active_while_it_works_and_shut_down_afterwards(storage: Storage) -> None:
    async with a_worker(storage, {"work": Handler()}):
        agent = await storage.get_agent("agent-1")
        assert agent is not None
        assert agent.status is AgentStatus.ACTIVE
        assert agent.heartbeat > MOMENT
    agent = await storage.get_agent("agent-1")
    assert agent is not None
    assert agent.status is AgentStatus.SHUTDOWN


async def test_a_worker_takes_over_the_agent_of_its_name_and_leaves_its_claims_to_their_leases(
    storage: Storage,
) -> None:
    await storage.store_agent(an_agent(name="old"))
    await store(storage, "a")
    assert await storage.claim_task("a", "agent-1", lease=60)
    async with a_worker(storage, {"work": Handler()}):
        agent = await storage.get_agent("agent-1")
        assert agent is not None
        assert (agent.name, agent.created_at, agent.status) == ("worker-001", MOMENT, AgentStatus.ACTIVE)
    assert (await task_of(storage)).status is TaskStatus.ASSIGNED


@pytest.mark.parametrize("incarnations", ["12", "21"])
async def test_a_worker_that_stops_does_not_sign_off_the_next_one_of_its_name(
    storage: Storage, monkeypatch: pytest.MonkeyPatch, incarnations: str
) -> None:
    # Random ones would hide, every other time, a comparison of which is greater.
    monkeypatch.setattr(registration, "new_id", iter(incarnations).__next__)
    earlier, later = (a_worker(storage, {"work": Handler()}) for _ in range(2))
    async with AsyncExitStack() as working:
        async with earlier:
            await working.enter_async_context(later)
        agent = await storage.get_agent("agent-1")
        assert agent is not None
        assert agent.status is AgentStatus.ACTIVE

    agent = await storage.get_agent("agent-1")
    assert agent is not None
    assert (agent.status, agent.metadata) == (AgentStatus.SHUTDOWN, an_agent().metadata)


@pytest.mark.parametrize("mark", [AgentStatus.ERROR, AgentStatus.SHUTDOWN])
async def test_an_agent_that_was_taken_for_dead_comes_back_and_a_deleted_one_is_registered_anew(
    storage: Storage, mark: AgentStatus
) -> None:
    async def be(wanted: AgentStatus) -> None:
        async with asyncio.timeout(LIMIT_SECONDS):
            async for _ in each_tick():
                agent = await storage.get_agent("agent-1")
                if agent is not None and agent.status is wanted:
                    break

    def lose(agent: AgentModel) -> None:
        agent.set_status(mark)

    async with a_worker(storage, {"work": Handler()}, heartbeat_timeout=0.5):
        await storage.modify(AgentModel, "agent-1", lose)
        await be(AgentStatus.ACTIVE)
        await storage.delete_agent("agent-1")
        await be(AgentStatus.ACTIVE)


async def test_a_worker_is_started_once_and_not_within_a_transaction(storage: Storage) -> None:
    worker = a_worker(storage, {"work": Handler()})
    with pytest.raises(OtherError, match="was not started"):
        await worker.run()
    async with storage.transaction():
        with pytest.raises(TransactionError, match="a worker is not possible within a transaction"):
            async with worker:
                pass
    async with worker:
        pass
    with pytest.raises(OtherError, match="was started before"):
        async with worker:
            pass
