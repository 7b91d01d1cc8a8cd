"""Facts about short operations, which an event loop runs in its own thread instead of sending them to another."""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from sqlite.turns import until
from swarm_persistence import SqliteStorage, TransactionError
from swarm_persistence.engines.sql.sqlite import sessions, submit
from swarm_persistence.engines.sql.sqlite.statements import BulkInsertStatement
from swarm_persistence.engines.sql.sqlite.submit import Batch
from swarm_persistence.engines.sql.statements import RecordStatement
from swarm_persistence_conformance.callers import elsewhere
from swarm_persistence_conformance.records import a_task, an_agent, ids

Threads = list[str]


def is_here(threads: Threads) -> bool:
    return set(threads) == {threading.current_thread().name}


@pytest.fixture(autouse=True)
def _on_a_slow_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no operation count as slow because the machine is busy."""
    for module in (submit, sessions):
        monkeypatch.setattr(module, "LONGEST_BLOCK_SECONDS", 3600.0)


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
        for _ in range(50):
            await reading.get_agent("agent-1")
        other.cancel()

        assert turns[0] >= 50

    async def test_after_a_slow_one_the_next_go_to_a_thread(
        self, reading: SqliteStorage, threads: Threads, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(submit, "LONGEST_BLOCK_SECONDS", -1.0)
        await reading.get_agent("agent-1")
        assert is_here(threads)
        threads.clear()

        await reading.get_agent("agent-1")

        assert not is_here(threads)

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
        monkeypatch.setattr(sessions, "LONGEST_BLOCK_SECONDS", -1.0)

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


class TestWaiting:
    async def test_a_loop_that_stands_still_for_a_batch_is_not_called(
        self, storage: SqliteStorage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        called: list[bool] = []
        finish = Batch.finish

        def noted(batch: Batch) -> bool:
            called.append(finish(batch))
            return called[-1]

        monkeypatch.setattr(Batch, "finish", noted)
        for number in range(20):
            await storage.store_agent(an_agent(f"agent-{number}"))

        assert called.count(False) > 0
        assert len(await storage.list_agents()) == 20

    def test_the_time_may_be_up_at_the_moment_of_the_answer(self) -> None:
        # One of the two sees the other: the loop knows the answer at once, or is called.
        for _ in range(2000):
            batch = Batch(submit.Submitter.__new__(submit.Submitter), [], 0.0, 1.0)
            must_call: list[bool] = []
            answering = threading.Thread(target=lambda batch=batch, seen=must_call: seen.append(batch.finish()))
            answering.start()
            is_done = batch.wait(0.00001)
            answering.join()
            assert is_done or must_call == [True]
