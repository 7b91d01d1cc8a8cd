"""Facts about one storage under many loops and threads, cancelled callers, and loops that close or are busy."""

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from polling import until
from swarm_persistence import SqliteStorage
from swarm_persistence.engines.sql.sqlite import submit
from swarm_persistence.engines.sql.sqlite.batches import Batch
from swarm_persistence_conformance.callers import elsewhere
from swarm_persistence_conformance.records import a_task, an_agent, ids


def in_threads(count: int, run: Callable[[int], None]) -> None:
    """Run in so many threads at once; an error in one is raised."""
    errors: list[BaseException] = []
    barrier = threading.Barrier(count)

    def guarded(number: int) -> None:
        try:
            barrier.wait(20)
            run(number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    if errors:
        raise errors[0]


@pytest.fixture
def opened(path: Path) -> SqliteStorage:
    """Give a storage that was opened by a loop that is closed by now; the test closes it."""
    return asyncio.run(SqliteStorage.open(path))


def close(storage: SqliteStorage) -> None:
    asyncio.run(storage.close())


async def called(start: Callable[[SqliteStorage], Coroutine[Any, Any, Any]], storage: SqliteStorage) -> None:
    """Make a call within the task that awaits it: a transaction that it begins is bound to that task's context."""
    await start(storage)


class TestManyLoops:
    def test_loops_in_threads_share_one_storage(self, opened: SqliteStorage) -> None:
        async def work(number: int) -> None:
            async def one(place: int) -> None:
                await opened.store_agent(an_agent(f"{number}-{place}"))
                assert await opened.get_agent(f"{number}-{place}") is not None

            await asyncio.gather(*map(one, range(50)))
            async with opened.transaction():
                await opened.store_agent(an_agent(f"{number}-inside"))

        in_threads(6, lambda number: asyncio.run(work(number)))

        agents = asyncio.run(opened.list_agents())
        assert len({agent.id for agent in agents}) == 6 * 51
        close(opened)

    def test_loops_in_threads_claim_each_task_once(self, opened: SqliteStorage) -> None:
        asyncio.run(opened.store_many(a_task(f"task-{number}") for number in range(100)))
        won: list[list[bool]] = [[]] * 4

        async def claim_all(number: int) -> None:
            claims = (opened.claim_task(f"task-{place}", f"agent-{number}") for place in range(100))
            won[number] = await asyncio.gather(*claims)

        in_threads(4, lambda number: asyncio.run(claim_all(number)))

        assert [sum(each) for each in zip(*won, strict=True)] == [1] * 100
        close(opened)

    def test_a_storage_outlives_the_loops_that_use_it(self, opened: SqliteStorage) -> None:
        for number in range(20):
            asyncio.run(opened.store_agent(an_agent(f"agent-{number}")))

        assert len(asyncio.run(opened.list_agents())) == 20
        assert len(opened._engine._submitters) <= 2  # closed loops are forgotten
        close(opened)

    def test_a_transaction_in_one_loop_keeps_the_writes_of_another_waiting(self, opened: SqliteStorage) -> None:
        began, written = threading.Event(), threading.Event()

        async def hold() -> None:
            async with opened.transaction():
                await opened.store_agent(an_agent("first"))
                began.set()
                assert await asyncio.to_thread(waits.wait, 20)

        async def write() -> None:
            assert began.wait(20)
            call = asyncio.ensure_future(opened.store_agent(an_agent("second")))
            await until(lambda: opened.pool_status().waiting > 0)
            assert not call.done()
            waits.set()
            await call
            written.set()

        waits = threading.Event()
        in_threads(2, lambda number: asyncio.run([hold, write][number]()))

        assert written.is_set()
        assert set(ids(asyncio.run(opened.list_agents()))) == {"first", "second"}
        close(opened)


class TestClosedLoops:
    @pytest.mark.filterwarnings("ignore:A transaction")
    @pytest.mark.parametrize(
        "start",
        [
            lambda storage: storage.store_agent(an_agent("left")),
            lambda storage: storage.list_agents(),
            lambda storage: storage.begin_transaction(),
            lambda storage: storage.vacuum(),
        ],
        ids=["write", "read", "begin", "vacuum"],
    )
    @pytest.mark.parametrize("turns", [0, 1, 2, 3])
    def test_a_loop_that_closes_with_a_call_in_flight_blocks_no_other_call(
        self, opened: SqliteStorage, start: Callable[[SqliteStorage], Coroutine[Any, Any, Any]], turns: int
    ) -> None:
        loop = asyncio.new_event_loop()
        call = loop.create_task(called(start, opened))
        for _ in range(turns):
            loop.run_until_complete(asyncio.sleep(0))
        call.cancel()
        loop.run_until_complete(asyncio.gather(call, return_exceptions=True))
        loop.close()

        # Half of what a transaction that was left open would hold.
        asyncio.run(asyncio.wait_for(opened.store_agent(an_agent("next")), 15))
        close(opened)

    @pytest.mark.parametrize(
        "start",
        [lambda storage: storage.store_agent(an_agent("left")), lambda storage: storage.list_agents()],
        ids=["write", "read"],
    )
    @pytest.mark.parametrize("amount", [1, 5])
    @pytest.mark.parametrize("turns", [1, 2, 3])
    def test_the_status_counts_no_call_of_a_closed_loop_for_ever(
        self,
        opened: SqliteStorage,
        start: Callable[[SqliteStorage], Coroutine[Any, Any, Any]],
        amount: int,
        turns: int,
    ) -> None:
        loop = asyncio.new_event_loop()
        calls: list[Any] = [loop.create_task(called(start, opened)) for _ in range(amount)]
        for _ in range(turns):
            loop.run_until_complete(asyncio.sleep(0))
        loop.close()  # the tasks are never run again

        engine = opened._engine
        close(opened)  # all that was sent is answered by then

        status = engine.pool_status()
        assert (status.active, status.waiting) == (0, 0)
        for call in calls:
            call._log_destroy_pending = False  # or a later test's log would have it

    @pytest.mark.filterwarnings("ignore:coroutine .* was never awaited", "ignore:A transaction")
    @pytest.mark.parametrize("turns", [1, 2, 3])
    def test_a_loop_that_is_abandoned_while_it_begins_a_transaction_blocks_no_other_call(
        self, path: Path, turns: int, caplog: pytest.LogCaptureFixture
    ) -> None:
        storage = asyncio.run(SqliteStorage.builder().transaction_timeout(0.2).build(path))
        loop = asyncio.new_event_loop()
        call = loop.create_task(called(SqliteStorage.begin_transaction, storage))
        for _ in range(turns):
            loop.run_until_complete(asyncio.sleep(0))
        loop.close()  # the task is never run again

        asyncio.run(storage.store_agent(an_agent("next")))

        close(storage)
        del call
        caplog.clear()


class TestCancelling:
    async def test_a_begin_cancelled_at_any_moment_blocks_no_other_call(self, storage: SqliteStorage) -> None:
        async def begin() -> None:
            transaction = await storage.begin_transaction()
            await transaction.rollback()

        for turns in range(60):
            call = elsewhere(begin())
            for _ in range(turns % 20):
                await asyncio.sleep(0)
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)

        async with asyncio.timeout(15):
            await storage.store_agent(an_agent("after"))

    async def test_a_begin_cancelled_as_its_answer_arrives_blocks_no_other_call(self, storage: SqliteStorage) -> None:
        engine = storage._engine
        call = asyncio.ensure_future(engine.begin())
        (writing, _) = engine._submitters[asyncio.get_running_loop()]
        await asyncio.sleep(0)
        await until(lambda: not writing._in_flight, pause_seconds=0)  # before the task runs that it is for
        call.cancel()  # the future is done, and the task has not run since
        with pytest.raises(asyncio.CancelledError):
            await call

        async with asyncio.timeout(15):
            await storage.store_agent(an_agent("after"))

    async def test_a_wait_that_is_over_leaves_the_storage_usable(self, storage: SqliteStorage) -> None:
        for number in range(30):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(storage.store_agent(an_agent(f"agent-{number}")), 0)

        await asyncio.wait_for(storage.store_agent(an_agent("in time")), 20)
        assert (await asyncio.wait_for(storage.get_agent("in time"), 20)) is not None

    async def test_a_wait_inside_a_transaction_joins_it(self, storage: SqliteStorage) -> None:
        transaction = await asyncio.wait_for(storage.begin_transaction(), 20)
        await asyncio.wait_for(storage.store_agent(an_agent()), 20)
        assert await elsewhere(storage.list_agents()) == []
        await asyncio.wait_for(transaction.rollback(), 20)

        assert await storage.list_agents() == []


class TestDebugMode:
    def test_the_loops_debug_mode_finds_nothing(self, path: Path, caplog: pytest.LogCaptureFixture) -> None:
        async def work() -> None:
            asyncio.get_running_loop().slow_callback_duration = 60
            async with await SqliteStorage.open(path) as storage:
                await asyncio.gather(*(storage.store_agent(an_agent(f"agent-{number}")) for number in range(50)))
                async with storage.transaction():
                    await storage.store_task(a_task())
                    await storage.list_agents()
                await storage.vacuum()

        asyncio.run(work(), debug=True)

        assert [record.message for record in caplog.records if record.levelname != "DEBUG"] == []


def burst() -> None:
    """Keep the interpreter busy for a millisecond."""
    end = time.perf_counter() + 0.001
    while time.perf_counter() < end:
        pass


async def work_beside_bursts(work: Coroutine[Any, Any, None]) -> None:
    """Do work beside a task that is always busy."""
    working = asyncio.ensure_future(work)
    while not working.done():
        burst()
        await asyncio.sleep(0)
    await working


class TestBusyLoop:
    """CPython hands its lock over to a thread only when that has waited undisturbed for 5 ms.

    A loop that lets go of it for a moment at every turn starves the threads: 100 inserts took 500 to 20,000 bursts, and
    take two each if the loop waits for them for real, or does without a thread.
    """

    @pytest.fixture
    def in_time(self, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
        """Give what came of each wait of the loop for a thread, however slow the machine is."""
        monkeypatch.setattr(submit, "_LONGEST_YIELD_SECONDS", 20.0)
        outcomes: list[bool] = []
        wait = Batch.wait

        def noted(batch: Batch, seconds: float) -> bool:
            outcomes.append(wait(batch, seconds))
            return outcomes[-1]

        monkeypatch.setattr(Batch, "wait", noted)
        return outcomes

    async def test_writes_go_on(self, storage: SqliteStorage, in_time: list[bool]) -> None:
        async def write() -> None:
            for number in range(100):
                await storage.store_agent(an_agent(f"agent-{number}"))

        await work_beside_bursts(write())

        assert sum(in_time) > 20, in_time

    async def test_lists_go_on(self, storage: SqliteStorage, in_time: list[bool]) -> None:
        reading = storage._engine._submitters[asyncio.get_running_loop()][1]
        assert isinstance(reading, submit.Submitter)
        reading._run_here = None  # else short ones take no thread

        async def read() -> None:
            for _ in range(100):
                await storage.list_agents()

        await work_beside_bursts(read())

        assert sum(in_time) > 20, in_time

    async def test_reads_of_single_records_take_no_thread(self, storage: SqliteStorage) -> None:
        reading = storage._engine._submitters[asyncio.get_running_loop()][1]
        assert isinstance(reading, submit.Submitter)
        reading.longest_stay = 3600.0  # else one that a busy machine interrupts sends the next 256 to a thread
        batches: set[Batch] = set()

        async def read() -> None:
            for number in range(100):
                reader = asyncio.ensure_future(storage.get_agent(f"agent-{number}"))
                await asyncio.sleep(0)
                batches.update(reading._in_flight)
                await reader

        await work_beside_bursts(read())

        assert len(batches) < 20

    async def test_one_is_not_held_up_by_what_waits_for_itself(
        self, storage: SqliteStorage, in_time: list[bool]
    ) -> None:
        # A write that waits for this loop's own transaction is not helped by a loop that stands still.
        async with storage.transaction():
            waiting = elsewhere(storage.store_agent(an_agent("waits")))
            writing, _ = storage._engine._submitters[asyncio.get_running_loop()]
            await until(lambda: len(writing._in_flight) == 1)
            in_time.clear()
            for _ in range(100):
                burst()
                await asyncio.sleep(0)
            assert in_time == []

        await waiting

    async def test_a_loop_that_waits_for_its_own_commit_does_not_hold_it_up(
        self, storage: SqliteStorage, in_time: list[bool]
    ) -> None:
        writing, _ = storage._engine._submitters[asyncio.get_running_loop()]
        transaction = await storage.begin_transaction()
        await storage.store_agent(an_agent())
        in_time.clear()
        assert isinstance(writing, submit.Submitter)
        writing._is_busy = True

        await transaction.commit()

        assert in_time == [True]
