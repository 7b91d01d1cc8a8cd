"""Facts about short operations, which an event loop runs in its own thread instead of sending them to another."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path

import apsw
import msgspec
import pytest
import pytest_asyncio

from polling import until
from swarm_persistence import ConflictError, SqliteStorage, TaskStatus, TransactionError
from swarm_persistence.engines.sql.sqlite import submit
from swarm_persistence.engines.sql.sqlite.batches import Batch, Recipient, answer
from swarm_persistence.engines.sql.sqlite.statements import BulkInsertStatement
from swarm_persistence.engines.sql.sqlite.submit import MOST_SKIPPED, Submitter
from swarm_persistence.engines.sql.statements import MOST_BYTES_IN_LOOP, RecordsStatement, RecordStatement
from swarm_persistence.models.identifiers import new_id
from swarm_persistence_conformance.callers import elsewhere
from swarm_persistence_conformance.records import a_task, an_agent, ids
from swarm_persistence_conformance.waiting import LIMIT_SECONDS

Threads = list[str]


def is_here(threads: Threads) -> bool:
    return set(threads) == {threading.current_thread().name}


@pytest_asyncio.fixture
async def storage(path: Path) -> AsyncIterator[SqliteStorage]:
    """Give a storage in which no operation counts as slow because the machine is busy."""
    async with await SqliteStorage.builder().longest_stay(3600).build(path) as storage:
        yield storage


def shorten_stay(storage: SqliteStorage) -> None:
    """Let every operation count as slow."""
    engine = storage._engine
    engine.settings = msgspec.structs.replace(engine.settings, longest_stay=1e-9)
    for submitter in engine._submitters[asyncio.get_running_loop()]:
        assert isinstance(submitter, Submitter)
        submitter.longest_stay = 1e-9


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> Threads:
    """Give the names of the threads that point reads and inserts ran in."""
    names: Threads = []
    for statement, method in ((RecordStatement, "result"), (BulkInsertStatement, "run_on")):
        run = getattr(statement, method)

        def noted(self: object, given: object, run: Callable[..., object] = run) -> object:
            names.append(threading.current_thread().name)
            return run(self, given)

        monkeypatch.setattr(statement, method, noted)
    return names


@pytest.fixture
async def reading(storage: SqliteStorage, threads: Threads) -> SqliteStorage:
    """Give a storage with a connection that has read before, and whose last caller read alone."""
    await storage.store_agent(an_agent())
    for _ in range(3):
        await storage.get_agent("agent-1")
    threads.clear()
    return storage


def another_task() -> "tuple[list[int], asyncio.Task[None]]":
    """Start a task that counts its turns in the event loop."""
    turns = [0]

    async def take_turns() -> None:
        while True:
            await asyncio.sleep(0)
            turns[0] += 1

    return turns, asyncio.create_task(take_turns())


class TestPointReads:
    async def test_one_after_the_other_they_take_no_other_thread(
        self, reading: SqliteStorage, threads: Threads
    ) -> None:
        for _ in range(3):
            agent = await reading.get_agent("agent-1")
            assert agent is not None
            assert agent.id == "agent-1"
        assert await reading.get_agent("unknown") is None

        assert (len(threads), is_here(threads)) == (4, True)

    async def test_they_see_what_was_written_before(self, reading: SqliteStorage) -> None:
        for number in range(20):
            await reading.store_agent(an_agent(f"new-{number}"))
            assert await reading.get_agent(f"new-{number}") is not None

    async def test_many_at_once_go_to_a_thread_together(self, reading: SqliteStorage, threads: Threads) -> None:
        await asyncio.gather(*(reading.get_agent("agent-1") for _ in range(20)))

        assert threads.count(threading.current_thread().name) <= 1
        assert len(threads) == 20

    async def test_a_loop_of_reads_lets_the_other_tasks_run(self, reading: SqliteStorage) -> None:
        turns, other = another_task()
        await asyncio.sleep(0)  # it starts, and takes a turn at each read from now on
        for _ in range(50):
            await reading.get_agent("agent-1")
        other.cancel()

        assert turns[0] >= 50

    async def test_after_a_slow_one_the_next_go_to_a_thread(
        self, reading: SqliteStorage, threads: Threads, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        shorten_stay(reading)
        await reading.get_agent("agent-1")
        assert is_here(threads)
        threads.clear()

        await reading.get_agent("agent-1")

        assert not is_here(threads)

    @pytest.mark.parametrize("is_busy", [False, True])
    async def test_some_time_after_a_slow_one_they_take_no_other_thread_again(
        self, reading: SqliteStorage, threads: Threads, is_busy: bool
    ) -> None:
        submitter = reading._engine._submitters[asyncio.get_running_loop()][1]
        assert isinstance(submitter, Submitter)
        submitter._back_off()
        for _ in range(MOST_SKIPPED):
            submitter._is_busy = is_busy
            await reading.get_agent("agent-1")
        assert threading.current_thread().name not in threads
        threads.clear()

        await reading.get_agent("agent-1")

        assert is_here(threads)

    async def test_one_that_would_have_to_wait_for_a_lock_goes_to_a_thread(
        self, reading: SqliteStorage, threads: Threads, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        result = RecordStatement.result

        def meet_a_lock(self: RecordStatement, rows: list[object]) -> object:
            if threading.current_thread() is threading.main_thread():
                threads.append("refused")
                raise apsw.BusyError("another process has the file for itself")
            return result(self, rows)

        monkeypatch.setattr(RecordStatement, "result", meet_a_lock)

        assert await reading.get_agent("agent-1") is not None
        assert threads[0] == "refused"
        assert not is_here(threads[1:])

    async def test_an_error_reaches_the_caller(self, reading: SqliteStorage, path: Path) -> None:
        with apsw.Connection(str(path)) as other:
            other.execute("UPDATE agents SET metadata = 'no JSON'").fetchall()

        for _ in range(2):
            with pytest.raises(Exception, match="agent 'agent-1' cannot be read back"):
                await reading.get_agent("agent-1")

    async def test_a_cancelled_one_leaves_the_storage_usable(self, reading: SqliteStorage) -> None:
        for turns in range(4):
            read = elsewhere(reading.get_agent("agent-1"))
            for _ in range(turns):
                await asyncio.sleep(0)
            read.cancel()
            await asyncio.gather(read, return_exceptions=True)

        assert await reading.get_agent("agent-1") is not None

    async def test_a_cancelled_one_does_not_send_the_next_to_a_thread_for_ever(
        self, reading: SqliteStorage, threads: Threads
    ) -> None:
        read = elsewhere(reading.get_agent("agent-1"))
        await asyncio.sleep(0)
        read.cancel()
        await asyncio.gather(read, return_exceptions=True)
        await reading.get_agent("agent-1")
        threads.clear()

        await reading.get_agent("agent-1")

        assert is_here(threads)

    def test_loops_in_threads_share_the_connections(self, path: Path) -> None:
        storage = asyncio.run(SqliteStorage.open(path))
        asyncio.run(storage.store_many(an_agent(f"agent-{number}") for number in range(10)))
        wrong: list[object] = []

        async def read() -> None:
            for number in range(300):
                agent = await storage.get_agent(f"agent-{number % 10}")
                if agent is None or agent.id != f"agent-{number % 10}":
                    wrong.append(agent)

        def run() -> None:
            try:
                asyncio.run(read())
            except BaseException as error:
                wrong.append(error)

        loops = [threading.Thread(target=run) for _ in range(4)]
        for loop in loops:
            loop.start()
        for loop in loops:
            loop.join(60)
        asyncio.run(storage.close())

        assert wrong == []


class TestLists:
    @pytest.fixture
    def list_threads(self, monkeypatch: pytest.MonkeyPatch) -> Threads:
        """Give the names of the threads that made records of the rows of lists."""
        names: Threads = []
        result = RecordsStatement.result

        def noted(self: RecordsStatement, rows: list[object]) -> object:
            names.append(threading.current_thread().name)
            return result(self, rows)

        monkeypatch.setattr(RecordsStatement, "result", noted)
        return names

    async def test_short_ones_of_a_single_caller_take_no_other_thread(
        self, reading: SqliteStorage, list_threads: Threads
    ) -> None:
        await reading.store_tasks([a_task(f"task-{number}") for number in range(20)])
        for _ in range(3):
            assert len(await reading.get_pending_tasks()) == 20

        assert (len(list_threads), is_here(list_threads)) == (3, True)

    async def test_one_that_takes_long_is_stopped_and_left_to_a_thread_as_are_the_next(
        self, reading: SqliteStorage, list_threads: Threads
    ) -> None:
        await reading.store_tasks([a_task(f"task-{number}") for number in range(200)])
        reading._engine._readers._bounded._longest_seconds = 1e-9

        for _ in range(2):
            assert len(await reading.get_pending_tasks()) == 200
        await reading.get_agent("agent-1")
        assert len(await reading.get_ready_tasks()) == 200

        assert not {threading.current_thread().name} & set(list_threads)

    async def test_one_with_a_large_value_is_left_to_a_thread(
        self, reading: SqliteStorage, list_threads: Threads
    ) -> None:
        large = a_task("large", payload="x" * (MOST_BYTES_IN_LOOP + 1))
        await reading.store_task(large)

        assert await reading.get_pending_tasks() == [large]
        assert not is_here(list_threads)

    async def test_the_limits_of_one_do_not_outlast_it(self, reading: SqliteStorage) -> None:
        large = a_task("large", payload="x" * (MOST_BYTES_IN_LOOP + 1))
        assert await reading.get_pending_tasks() == []
        await reading.store_task(large)
        for _ in range(3):
            assert await reading.get_task("large") == large


class TestWrites:
    @pytest.fixture
    async def writing(self, storage: SqliteStorage, threads: Threads, monkeypatch: pytest.MonkeyPatch) -> SqliteStorage:
        """Give a storage whose last caller wrote alone, in a loop that counts as idle however busy the machine is."""
        monkeypatch.setattr(submit, "_IDLE_SECONDS", 3600.0)
        monkeypatch.setattr(submit, "_BUSY_SHARE", float("inf"))
        for number in range(2):
            await storage.store_many([a_task(f"task-{number}"), an_agent(f"agent-{number}")])
        threads.clear()
        return storage

    async def test_one_after_the_other_they_take_no_other_thread(
        self, writing: SqliteStorage, threads: Threads
    ) -> None:
        for number in range(10):
            await writing.store_many([a_task(f"more-{number}"), an_agent(f"more-{number}")])
            assert await writing.claim_next_task("agent-0") is not None

        assert threads.count(threading.current_thread().name) > 0
        assert len(await writing.list_agents()) == 12

    async def write_until_here(self, storage: SqliteStorage, threads: Threads) -> None:
        """Write until this thread does it: the writer's thread may still lead when its last answer has arrived."""
        async with asyncio.timeout(LIMIT_SECONDS):
            while threads[-1:] != [threading.current_thread().name]:
                await storage.store_many([a_task(new_id()), an_agent(new_id())])

    async def test_many_at_once_go_to_the_thread_together(self, writing: SqliteStorage, threads: Threads) -> None:
        await asyncio.gather(*(writing.store_many([a_task(f"x{n}"), an_agent(f"x{n}")]) for n in range(20)))

        assert len(threads) == 40
        assert not any(name == threading.current_thread().name for name in threads)

    async def test_one_beside_a_task_that_works_goes_to_the_thread(
        self, writing: SqliteStorage, threads: Threads, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(submit, "_IDLE_SECONDS", -1.0)
        await writing.store_many([a_task("new"), an_agent("new")])

        assert threads
        assert not is_here(threads)

    async def test_after_a_slow_one_the_next_go_to_the_thread(self, writing: SqliteStorage, threads: Threads) -> None:
        shorten_stay(writing)
        await self.write_until_here(writing, threads)
        threads.clear()

        for number in range(8):
            await writing.store_many([a_task(f"next-{number}"), an_agent(f"next-{number}")])
        assert not any(name == threading.current_thread().name for name in threads)
        await self.write_until_here(writing, threads)

    async def test_without_a_stay_all_go_to_the_threads(self, path: Path, threads: Threads) -> None:
        async with await SqliteStorage.builder().longest_stay(0).build(path) as storage:
            for number in range(5):
                await storage.store_many([a_task(f"{number}"), an_agent(f"{number}")])
                assert await storage.get_agent(f"{number}") is not None
            async with storage.transaction():
                await storage.store_many([a_task("in it"), an_agent("in it")])

        assert threads
        assert not any(name == threading.current_thread().name for name in threads)

    async def test_one_that_would_wait_for_another_program_goes_to_the_thread(
        self, writing: SqliteStorage, threads: Threads, path: Path
    ) -> None:
        with closing(apsw.Connection(str(path))) as other:
            other.execute("BEGIN IMMEDIATE").fetchall()
            waiting = asyncio.ensure_future(writing.store_many([a_task("new"), an_agent("new")]))
            await until(lambda: writing._engine._busy_handler.wait.is_waiting)
            other.execute("ROLLBACK").fetchall()
            await waiting

        assert not is_here(threads)

    async def test_what_is_written_without_awaiting_keeps_its_order(self, writing: SqliteStorage) -> None:
        first = asyncio.ensure_future(writing.store_agent(an_agent("first")))
        await asyncio.sleep(0)
        async with writing.transaction():
            assert await writing.get_agent("first") is not None
        await first

    async def test_a_loop_of_writes_lets_the_other_tasks_run(self, writing: SqliteStorage) -> None:
        turns, other = another_task()
        await asyncio.sleep(0)  # it starts, and takes a turn at each write from now on
        for number in range(50):
            await writing.store_agent(an_agent(f"more-{number}"))
        other.cancel()

        assert turns[0] >= 50

    async def test_a_write_takes_one_turn_of_the_loop(self, writing: SqliteStorage) -> None:
        turns, other = another_task()
        await asyncio.sleep(0)
        taken = []
        for number in range(50):
            before = turns[0]
            await writing.store_agent(an_agent(f"more-{number}"))
            taken.append(turns[0] - before)
        other.cancel()

        # A few take more on a busy machine: many, if the writer's thread is at work just then.
        assert sum(each > 1 for each in taken) < 25, taken

    async def test_a_write_that_is_cancelled_before_its_turn_is_not_run(self, writing: SqliteStorage) -> None:
        call = elsewhere(writing.store_agent(an_agent("cancelled")))
        await asyncio.sleep(0)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)

        assert await writing.get_agent("cancelled") is None
        assert writing.pool_status().waiting == 0

    async def test_a_write_outlives_the_one_that_was_to_run_before_it(self, writing: SqliteStorage) -> None:
        first = elsewhere(writing.store_agent(an_agent("first")))
        second = elsewhere(writing.store_agent(an_agent("second")))
        await asyncio.sleep(0)
        first.cancel()
        async with asyncio.timeout(15):
            await second

        assert await writing.get_agent("first") is None
        assert await writing.get_agent("second") is not None

    async def test_one_that_was_answered_before_its_turn_gives_its_outcome(self, writing: SqliteStorage) -> None:
        stored = elsewhere(writing.store_agent(an_agent("new")))
        await self.answer_before_its_turn(writing)
        await asyncio.wait_for(stored, LIMIT_SECONDS)

        refused = elsewhere(writing.store_agent(an_agent("new")))
        await self.answer_before_its_turn(writing)
        with pytest.raises(ConflictError, match="new"):
            await asyncio.wait_for(refused, LIMIT_SECONDS)

        claimed = elsewhere(writing.claim_next_task("agent-0"))
        await self.answer_before_its_turn(writing)
        task = await asyncio.wait_for(claimed, LIMIT_SECONDS)
        assert task is not None
        assert task.status is TaskStatus.ASSIGNED

    async def test_a_claim_that_was_answered_before_its_caller_is_cancelled_is_undone(
        self, writing: SqliteStorage
    ) -> None:
        claimed = elsewhere(writing.claim_next_task("agent-0"))
        await self.answer_before_its_turn(writing)
        claimed.cancel()
        await asyncio.wait([claimed])

        assert claimed.cancelled()
        async with asyncio.timeout(LIMIT_SECONDS):
            while len(await writing.get_pending_tasks()) < 2:
                pass

    @staticmethod
    async def answer_before_its_turn(storage: SqliteStorage) -> None:
        """Send the operation that was to run in this thread, and settle it, as a call beside it in a busy loop does."""
        await asyncio.sleep(0)
        submitter = storage._engine._submitters[asyncio.get_running_loop()][0]
        assert isinstance(submitter, Submitter)
        submitter.flush()
        (batch,) = submitter._in_flight
        assert batch.wait(LIMIT_SECONDS)
        submitter.settle(batch)

    async def test_a_cancelled_one_leaves_the_storage_usable(self, writing: SqliteStorage) -> None:
        for turns in range(6):
            write = asyncio.ensure_future(writing.store_agent(an_agent(f"cancelled-{turns}")))
            for _ in range(turns):
                await asyncio.sleep(0)
            write.cancel()
            await asyncio.gather(write, return_exceptions=True)

        await writing.store_agent(an_agent("after"))


class TestTransactions:
    async def test_their_single_writes_and_reads_take_no_other_thread(
        self, storage: SqliteStorage, threads: Threads
    ) -> None:
        async with storage.transaction():
            await storage.store_agent(an_agent())
            async with storage.transaction():
                await storage.store_task(a_task())
            assert await storage.get_agent("agent-1") is not None
            assert len(await storage.list_agents()) == 1

        assert (len(threads), is_here(threads)) == (3, True)
        assert ids(await storage.list_agents()) == ["agent-1"]

    async def test_after_a_slow_one_the_others_go_to_the_thread(
        self, storage: SqliteStorage, threads: Threads, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        shorten_stay(storage)

        async with storage.transaction():
            await storage.store_agent(an_agent("first"))
            assert is_here(threads)
            threads.clear()
            await storage.store_agent(an_agent("second"))

        assert not is_here(threads)

    async def test_a_loop_of_writes_lets_the_other_tasks_run(self, storage: SqliteStorage) -> None:
        turns, other = another_task()
        async with storage.transaction():
            before = turns[0]
            for number in range(50):
                await storage.store_agent(an_agent(f"agent-{number}"))
            assert turns[0] - before >= 50
        other.cancel()

    async def test_one_that_is_over_refuses_more(self, path: Path) -> None:
        async with await SqliteStorage.builder().transaction_timeout(0.05).build(path) as storage:
            transaction = await storage.begin_transaction()
            await storage.store_agent(an_agent())
            await until(lambda: not storage._engine._is_held())

            with pytest.raises(TransactionError, match="transaction_timeout"):
                await storage.store_agent(an_agent("late"))
            await transaction.rollback()

            assert await storage.list_agents() == []


class CalledLoop(Recipient):
    """A loop, and what it was called for."""

    def __init__(self) -> None:
        self.loop: asyncio.AbstractEventLoop = asyncio.new_event_loop()
        self.settled: list[Batch] = []

    def settle(self, batch: Batch) -> None:
        self.settled.append(batch)

    def run(self) -> None:
        """Run what the loop was called for."""
        self.loop.call_soon(self.loop.stop)
        self.loop.run_forever()


class TestWaiting:
    def test_the_time_may_be_up_at_the_moment_of_the_answer(self) -> None:
        # One of the two sees the other: the loop knows the answer at once, or is called.
        recipient = CalledLoop()
        for _ in range(2000):
            batch = Batch(recipient, [], 0.0, 1.0)
            answering = threading.Thread(target=answer, args=([batch],))
            answering.start()
            is_done = batch.wait(0.00001)
            answering.join()
            recipient.run()
            assert is_done or recipient.settled == [batch]
            recipient.settled.clear()
        recipient.loop.close()
