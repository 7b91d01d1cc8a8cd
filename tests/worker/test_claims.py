"""How many tasks a worker claims, for how long, and what it does once it has lost one."""

import asyncio
import threading
from collections import Counter
from typing import Any

import pytest

from polling import until
from swarm_persistence import ClosedError, Storage, TaskModel, TaskStatus, WorkerContext
from swarm_persistence.clock import ManualClock
from worker.workers import a_worker, completed, once, soon, store

MANY = [f"task-{number}" for number in range(40)]


class Crowd:
    """Counts the handlers inside at once; lets none out before the room is full, as long as more may come."""

    def __init__(self, room: int, visitors: int) -> None:
        self.most = 0
        self._inside = 0
        self._left = visitors
        self._room = room
        self._gate = threading.Condition()

    def visit(self, _: TaskModel) -> None:
        with self._gate:
            self._inside += 1
            self.most = max(self.most, self._inside)
            self._gate.notify_all()
            self._gate.wait_for(lambda: self.most >= min(self._room, self._left))
            self._inside -= 1


async def test_so_many_handlers_run_at_once_and_never_more(storage: Storage) -> None:
    inside, most, full = 0, 0, asyncio.Event()

    async def visit(_: TaskModel) -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        if inside == 3:
            full.set()
        await full.wait()
        await asyncio.sleep(0)
        inside -= 1

    await store(storage, *MANY)
    async with a_worker(storage, {"work": visit}, concurrency=3):
        await completed(storage, *MANY)
    assert most == 3


async def test_so_many_threads_work_at_once_and_never_more(storage: Storage) -> None:
    crowd = Crowd(3, len(MANY))
    await store(storage, *MANY)
    async with a_worker(storage, {"work": crowd.visit}, concurrency=3):
        await completed(storage, *MANY)
    assert crowd.most == 3


async def test_what_there_is_no_room_for_is_left_to_others(storage: Storage) -> None:
    busy, go = asyncio.Event(), asyncio.Event()
    begun = []

    async def wait(task: TaskModel) -> None:
        begun.append(task.id)
        if len(begun) == 2:
            busy.set()
        await go.wait()

    await store(storage, "a", "b", "c", "d", "e")
    async with a_worker(storage, {"work": wait}, concurrency=2):
        await soon(busy)
        assert len(await storage.get_pending_tasks()) == 3
        go.set()
        await completed(storage, "a", "b", "c", "d", "e")


async def test_two_workers_share_the_tasks_and_each_is_done_once(storage: Storage) -> None:
    done: Counter[str] = Counter()
    both = asyncio.Event()
    agents = set()

    async def work(task: TaskModel, context: WorkerContext[Storage]) -> None:
        done[task.id] += 1
        agents.add(context.agent.id)
        if len(agents) == 2:
            both.set()
        await both.wait()

    first, second = (a_worker(storage, {"work": work}, name, concurrency=4) for name in ("agent-1", "agent-2"))
    await store(storage, *MANY)
    async with first, second:
        tasks = await completed(storage, *MANY)
    assert done == Counter(MANY)
    assert {task.claim_count for task in tasks.values()} == {1}
    assert {task.assigned_to for task in tasks.values()} == {"agent-1", "agent-2"}
    assert first.outcomes + second.outcomes == {"completed": len(MANY)}


async def test_a_lease_is_extended_for_as_long_as_the_handler_works(storage: Storage) -> None:
    async def work_for_three_leases(task: TaskModel, context: WorkerContext[Storage]) -> int:
        # A copy of the task is all that it needs to see how often the worker has extended its lease.
        ends = set()
        async for seen in context.storage.watch_tasks():
            ends.add(seen.lease_expires_at)
            assert (await context.storage.requeue_expired_tasks()).requeued == ()
            assert task.lease_expires_at is not None
            assert seen.lease_expires_at is not None
            if (seen.lease_expires_at - task.lease_expires_at).total_seconds() > 0.9:
                break
        return len(ends)

    await store(storage, "a")
    async with a_worker(storage, {"work": work_for_three_leases}, lease=0.3):
        task = (await completed(storage, "a"))["a"]
    assert (task.claim_count, task.retry_count) == (1, 0)
    assert task.result is not None
    assert task.result >= 6  # about every third of a lease


@pytest.mark.parametrize("end", ["cancel", "delete"])
async def test_a_handler_whose_claim_is_ended_by_another_agent_is_cancelled_at_once(storage: Storage, end: str) -> None:
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def wait(_: TaskModel) -> str:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
        return "all the same"

    await store(storage, "a")
    async with a_worker(storage, {"work": wait}, lease=3_600) as worker:  # long before it looks after its lease
        await soon(begun)
        await (storage.cancel_task("a") if end == "cancel" else storage.repository(TaskModel).delete("a"))
        await soon(cancelled)
    stored = await storage.get_task("a")
    assert stored is None or (stored.status, stored.result) == (TaskStatus.CANCELLED, None)
    assert worker.outcomes == {"lost": 1}


async def test_a_thread_whose_task_is_cancelled_keeps_its_place_and_its_result_is_dropped(storage: Storage) -> None:
    begun, go, order = threading.Event(), threading.Event(), []

    def work(task: TaskModel) -> str:
        begun.set()
        if task.id == "a":
            go.wait()
        order.append(task.id)
        return "a result"

    await store(storage, "a", "b")
    async with a_worker(storage, {"work": work}, concurrency=1) as worker:
        await asyncio.to_thread(begun.wait)
        await storage.cancel_task("a")
        await until(lambda: worker.outcomes["lost"])
        for _ in range(30):  # time enough to claim what there is no thread for
            assert [task.id for task in await storage.get_pending_tasks()] == ["b"]
        go.set()
        await completed(storage, "b")
    stored = await storage.get_task("a")
    assert stored is not None
    assert (stored.status, stored.result, order) == (TaskStatus.CANCELLED, None, ["a", "b"])


async def test_a_handler_that_stops_its_loop_past_the_lease_has_lost_its_task(
    storage: Storage, clock: ManualClock
) -> None:
    async def hang_once(task: TaskModel, context: WorkerContext[Storage]) -> str:
        if task.claim_count == 1:
            clock.advance(61)
            assert (await context.storage.requeue_expired_tasks()).requeued == ("a",)  # as another worker does
        return f"claim {task.claim_count}"

    await store(storage, "a")
    async with a_worker(storage, {"work": hang_once}, lease=60) as worker:
        task = (await completed(storage, "a"))["a"]
    assert (task.result, task.retry_count, task.claim_count) == ("claim 2", 1, 2)
    assert worker.outcomes == {"lost": 1, "completed": 1}


@pytest.mark.parametrize("kind", ["async", "blocking"])
async def test_a_handler_that_takes_longer_than_it_may_fails_its_task(storage: Storage, kind: str) -> None:
    go = threading.Event()

    async def hang(_: TaskModel) -> None:
        await asyncio.Event().wait()

    def hang_in_a_thread(_: TaskModel) -> None:
        go.wait()

    await store(storage, "a", max_retries=0)
    handler: Any = hang if kind == "async" else hang_in_a_thread
    async with a_worker(storage, {"work": handler}, task_timeout=0.1):
        task = (await once(storage, lambda task: task.status is TaskStatus.FAILED, "a"))["a"]
    go.set()
    assert task.error == "the handler took longer than 0.1 s"


async def test_work_of_the_dead_is_taken_over(storage: Storage) -> None:
    await store(storage, "a")
    dead = await storage.claim_next_task("dead", lease=0.2)
    assert dead is not None

    async def work(task: TaskModel) -> str:
        return "done"

    async with a_worker(storage, {"work": work}, lease=0.4):
        task = (await completed(storage, "a"))["a"]
    assert (task.assigned_to, task.claim_count, task.retry_count) == ("agent-1", 2, 1)


async def test_a_worker_ends_with_the_error_once_its_storage_is_closed(storage: Storage) -> None:
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def wait(_: TaskModel) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    await store(storage, "a")
    with pytest.raises(ClosedError):  # noqa: PT012 - the block is what is looked at
        async with a_worker(storage, {"work": wait}, concurrency=2) as worker:
            await soon(begun)
            await storage.close()
            await worker.run()
    assert cancelled.is_set()


async def test_a_block_that_waits_for_something_else_learns_of_the_error(storage: Storage) -> None:
    with pytest.raises(ClosedError):  # noqa: PT012 - the block is what is looked at
        async with a_worker(storage, {"work": lambda task: None}):
            await storage.close()
            await asyncio.Event().wait()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
