"""Handlers that block the event loop of their worker: their tasks stay claimed, and a warning says what to do."""

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sqlite.programs import Program
from swarm_persistence import AgentStatus, MemoryStorage, SqliteStorage, Storage, TaskModel, TaskStatus
from swarm_persistence.worker import blocked_loops
from swarm_persistence.worker.blocked_loops import LoopGuard
from swarm_persistence.worker.task_runs import TaskLimits
from swarm_persistence_conformance.records import an_agent
from swarm_persistence_conformance.waiting import LIMIT_SECONDS
from worker.workers import a_worker, completed, soon, store

LEASE = 1.2


class Elsewhere:
    """A thread with an event loop of its own, in which others use the storage while the worker's loop is blocked."""

    def __init__(self, work: Callable[[], Awaitable[None]]) -> None:
        self.has_ended = threading.Event()
        self.error: BaseException | None = None
        self._work = work
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def block(self) -> None:
        """Let the calling loop stand still until the work is done."""
        assert self.has_ended.wait(2 * LIMIT_SECONDS)

    def join(self) -> None:
        """Wait for the thread, and raise what it has raised."""
        self._thread.join(LIMIT_SECONDS)
        if self.error is not None:
            raise self.error

    def _run(self) -> None:
        async def work() -> None:
            await self._work()

        try:
            asyncio.run(work())
        except BaseException as error:
            self.error = error
        finally:
            self.has_ended.set()


async def until_extended(storage: Storage, id: str, times: int = 4) -> None:
    """Wait until the task's lease was extended so many times."""
    leases = set()
    async with asyncio.timeout(LIMIT_SECONDS):
        async for task in storage.watch_tasks():
            if task.id == id and task.status in (TaskStatus.ASSIGNED, TaskStatus.RUNNING):
                leases.add(task.lease_expires_at)
            if len(leases) > times:
                return


async def never(_: TaskModel) -> None:
    raise AssertionError("the task is another worker's")


async def register_the_other(storage: Storage) -> None:
    """Register the other worker's agent beforehand.

    That takes a transaction, which would wait until the blocked loop has finished the writes that it has in flight.
    """
    await storage.store_agent(an_agent("agent-2"))


class TestBlockedLoops:
    async def test_a_task_whose_handler_blocks_the_loop_is_done_once(self, storage: Storage) -> None:
        runs = 0

        async def others() -> None:
            async with a_worker(storage, {"work": never}, "agent-2", lease=LEASE):
                await until_extended(storage, "a")

        async def block(_: TaskModel) -> str:
            nonlocal runs
            runs += 1
            elsewhere = Elsewhere(others)
            elsewhere.block()
            elsewhere.join()
            return "done"

        await register_the_other(storage)
        await store(storage, "a")
        async with a_worker(storage, {"work": block}, lease=LEASE) as worker:
            task = (await completed(storage, "a"))["a"]

        assert (runs, task.result, task.claim_count, task.retry_count) == (1, "done", 1, 0)
        assert worker.outcomes == {"completed": 1}

    async def test_its_neighbours_stay_claimed_too(self, storage: Storage) -> None:
        has_begun, may_end = asyncio.Event(), asyncio.Event()

        async def others() -> None:
            async with a_worker(storage, {"wait": never, "work": never}, "agent-2", lease=LEASE):
                await until_extended(storage, "neighbour")

        async def wait(_: TaskModel) -> None:
            has_begun.set()
            await may_end.wait()

        async def block(_: TaskModel) -> None:
            elsewhere = Elsewhere(others)
            elsewhere.block()
            elsewhere.join()

        await register_the_other(storage)
        await store(storage, "neighbour", task_type="wait")
        async with a_worker(storage, {"wait": wait, "work": block}, lease=LEASE):
            await soon(has_begun)
            await store(storage, "a")
            await completed(storage, "a")
            may_end.set()
            tasks = await completed(storage, "neighbour")

        assert (tasks["neighbour"].claim_count, tasks["neighbour"].retry_count) == (1, 0)

    async def test_a_warning_names_the_handler_its_stack_and_the_remedy_once(
        self, storage: Storage, caplog: pytest.LogCaptureFixture
    ) -> None:
        has_warned = threading.Event()

        class Listener(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                if "has been blocked" in record.getMessage():
                    has_warned.set()

        async def block(task: TaskModel) -> None:
            assert has_warned.wait(LIMIT_SECONDS)
            if task.id == "b":
                elsewhere = Elsewhere(lambda: until_extended(storage, "b", 2))
                elsewhere.block()
                elsewhere.join()

        listener = Listener()
        logging.getLogger("swarm_persistence").addHandler(listener)
        try:
            await store(storage, "a", "b")
            async with a_worker(storage, {"work": block}, lease=LEASE, concurrency=1):
                await completed(storage, "a", "b")
        finally:
            logging.getLogger("swarm_persistence").removeHandler(listener)

        (warning,) = [text for text in caplog.messages if "has been blocked" in text]
        name = f"{block.__module__}.{block.__qualname__}"
        assert f"by the handler {name} of task 'a' (work)" in warning
        assert "asyncio.to_thread" in warning
        assert "has_warned.wait(LIMIT_SECONDS)" in warning
        assert "plain `def`" in warning

    async def test_the_agent_goes_on_giving_signs_of_life(self, storage: Storage) -> None:
        async def others() -> None:
            first = await storage.get_agent("agent-1")
            assert first is not None
            beats = {first.heartbeat}
            async with asyncio.timeout(LIMIT_SECONDS):
                while len(beats) < 4:
                    await asyncio.sleep(0.02)
                    await storage.requeue_expired_tasks(heartbeat_timeout=5)
                    agent = await storage.get_agent("agent-1")
                    assert agent is not None
                    assert agent.status is AgentStatus.ACTIVE
                    beats.add(agent.heartbeat)

        async def block(_: TaskModel) -> None:
            elsewhere = Elsewhere(others)
            elsewhere.block()
            elsewhere.join()

        await store(storage, "a")
        async with a_worker(storage, {"work": block}, lease=LEASE, heartbeat_timeout=5):
            task = (await completed(storage, "a"))["a"]
        assert task.claim_count == 1

    async def test_beyond_its_timeout_the_task_is_left_to_others(self, storage: Storage) -> None:
        async def finish(_: TaskModel) -> str:
            return "by another worker"

        async def others() -> None:
            async with a_worker(storage, {"work": finish}, "agent-2", lease=LEASE):
                await completed(storage, "a")

        async def block(_: TaskModel) -> str:
            elsewhere = Elsewhere(others)
            elsewhere.block()
            elsewhere.join()
            return "too late"

        await register_the_other(storage)
        await store(storage, "a")
        async with a_worker(storage, {"work": block}, lease=LEASE, task_timeout=LEASE / 2) as worker:
            task = (await completed(storage, "a"))["a"]
            worker.stop()
            await worker.run()

        assert (task.result, task.claim_count) == ("by another worker", 2)
        assert worker.outcomes == {"lost": 1}

    async def test_a_worker_that_is_stopped_meanwhile_ends_in_good_order(self, storage: Storage) -> None:
        stopping: list[Any] = []

        async def others() -> None:
            stopping[0].stop()
            await until_extended(storage, "a", 3)

        async def block(_: TaskModel) -> str:
            elsewhere = Elsewhere(others)
            elsewhere.block()
            elsewhere.join()
            return "done"

        await register_the_other(storage)
        await store(storage, "a")
        async with a_worker(storage, {"work": block}, lease=LEASE) as worker:
            stopping.append(worker)
            await worker.run()

        assert worker.outcomes == {"completed": 1}


async def test_another_process_does_not_take_over_what_a_blocked_one_works_on(path: Path) -> None:
    async with await SqliteStorage.open(path) as storage:
        await store(storage, "a")
        program = Program(
            """
            import asyncio, sys
            from swarm_persistence import AgentModel, SqliteStorage, Worker

            async def block(task):
                print("begun", flush=True)
                return sys.stdin.readline().strip()

            async def main(path):
                agent = AgentModel(id="blocked", name="blocked", agent_type="test")
                async with await SqliteStorage.open(path) as storage:
                    async with Worker(storage, agent, {"work": block}, lease=1.2) as worker:
                        while not worker.outcomes:
                            await asyncio.sleep(0.01)
                print(dict(worker.outcomes))

            import logging
            logging.basicConfig(level=logging.ERROR)
            asyncio.run(main(sys.argv[1]))
            """,
            path,
        )
        assert program.wait_for_line() == "begun"
        async with a_worker(storage, {"work": never}, "agent-2", lease=LEASE):
            await until_extended(storage, "a")
            program.tell("done")
            task = (await completed(storage, "a"))["a"]

    assert program.finish() == ["{'completed': 1}"]
    assert (task.result, task.claim_count, task.retry_count) == ("done", 1, 0)


class TestTimes:
    """When a blocked loop's leases and heartbeats are due, shown by a clock that moves only while the thread waits."""

    LEASE_SECONDS = 600.0
    HEARTBEAT_SECONDS = 40.0

    async def acted_at(
        self, monkeypatch: pytest.MonkeyPatch, until: float, *, is_seen: Callable[[float], bool] = lambda _: False
    ) -> tuple[list[float], list[float]]:
        """Return when leases were extended and heartbeats sent until a time; `is_seen` tells when the loop runs."""
        now = 0.0
        extended: list[float] = []
        beaten: list[float] = []

        async def release_ahead() -> None:
            extended.append(now)

        async def beat(_: object, agent_id: str) -> None:
            beaten.append(now)

        def wait(seconds: float) -> bool:
            nonlocal now
            for call in (guard._leases, guard._heartbeat):
                if call._running is not None:
                    call._running.result(LIMIT_SECONDS)
            now += seconds
            if is_seen(now):
                guard._ticked_at = now
            return now > until

        monkeypatch.setattr(MemoryStorage, "heartbeat", beat)
        monkeypatch.setattr(blocked_loops, "time", SimpleNamespace(monotonic=lambda: now))
        limits = TaskLimits(self.LEASE_SECONDS, None)
        guard = LoopGuard(
            MemoryStorage(), "agent-1", lambda: (), limits, self.HEARTBEAT_SECONDS, release_ahead=release_ahead
        )
        monkeypatch.setattr(guard._stopped, "wait", wait)

        guard._watch()

        return extended, beaten

    async def test_leases_are_extended_each_third_of_a_lease_and_heartbeats_sent_after_each_pause(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        extended, beaten = await self.acted_at(monkeypatch, until=500)

        # Blocked loops are detected after 5 s; the heartbeat before that was sent when the loop was last seen to run.
        assert extended == [5.0, 205.0, 405.0]
        assert beaten == [42.5 + 40 * number for number in range(12)]
        assert "has been blocked for 5.0 s" in caplog.text

    async def test_a_loop_that_is_blocked_again_has_its_leases_extended_at_once(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        extended, beaten = await self.acted_at(monkeypatch, until=100, is_seen=lambda now: 10 < now <= 60)

        assert extended == [5.0, 65.0]
        assert beaten == []

    async def test_a_loop_that_runs_gets_no_call(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert await self.acted_at(monkeypatch, until=2_000, is_seen=lambda _: True) == ([], [])
