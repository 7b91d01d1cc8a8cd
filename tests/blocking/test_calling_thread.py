"""Facts about the thread that makes a blocking call: it does the work itself, and shares it with the others."""

import asyncio
import gc
import threading
import warnings
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from contextvars import copy_context
from pathlib import Path
from typing import Any

import apsw
import pytest

from sqlite.programs import Program
from swarm_persistence import (
    AgentModel,
    BlockingStorage,
    ConflictError,
    MemoryStorage,
    OtherError,
    PoolError,
    SqliteStorage,
    TransactionError,
    open_storage,
)
from swarm_persistence.engines import calling_thread
from swarm_persistence.engines.sql.sqlite.statements import BulkInsertStatement
from swarm_persistence.engines.sql.statements import RecordStatement
from swarm_persistence_conformance.records import a_task, an_agent, ids
from swarm_persistence_conformance.waiting import LIMIT_SECONDS


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Give the names of the threads that point reads and inserts ran in."""
    names: list[str] = []
    for statement, method in ((RecordStatement, "result"), (BulkInsertStatement, "run_on")):
        run = getattr(statement, method)

        def noted(self: object, given: object, run: Callable[..., object] = run) -> object:
            names.append(threading.current_thread().name)
            return run(self, given)

        monkeypatch.setattr(statement, method, noted)
    return names


def here() -> str:
    return threading.current_thread().name


def in_threads(count: int, work: Callable[[int], object]) -> None:
    """Do the work in as many threads at once, and raise what any of them raises."""
    with ThreadPoolExecutor(count) as pool:
        for done in [pool.submit(work, number) for number in range(count)]:
            done.result(60)


class TestWhere:
    def test_reads_and_writes_run_in_the_calling_thread(self, path: Path, threads: list[str]) -> None:
        with open_storage(path) as storage:
            storage.store_many([an_agent(), a_task()])  # two statements, so not the shorter way of one insert
            for _ in range(3):
                assert storage.get_agent("agent-1") is not None

        assert len(threads) >= 5
        assert set(threads) == {here()}

    def test_no_background_loop_is_started(self, path: Path) -> None:
        program = Program(
            """
            import sys, threading
            from swarm_persistence import TaskModel, open_storage

            with open_storage(sys.argv[1]) as storage:
                storage.store_task(TaskModel.new("job", 1))
                with storage.transaction():
                    storage.claim_next_task("agent")
                print(any("loop" in thread.name for thread in threading.enumerate()))
            """,
            path,
        )

        assert program.finish() == ["False"]

    def test_one_connection_serves_reads_and_writes(self, path: Path) -> None:
        opened: Any = asyncio.run(SqliteStorage.builder().max_connections(1).min_idle_connections(0).build(path))
        with BlockingStorage(opened) as storage:
            in_threads(4, lambda number: storage.store_agent(an_agent(str(number))))
            assert len(storage.list_agents()) == 4
            assert storage.pool_status().max == 1

    def test_the_readers_connections_are_bounded(self, path: Path) -> None:
        opened: Any = asyncio.run(SqliteStorage.builder().max_connections(3).min_idle_connections(0).build(path))
        most = 0
        with BlockingStorage(opened) as storage:
            storage.store_agent(an_agent())

            def read(_: int) -> None:
                nonlocal most
                for _ in range(50):
                    assert storage.get_agent("agent-1") is not None
                    assert len(asyncio.run(opened.list_agents())) == 1
                    status = storage.pool_status()
                    most = max(most, status.active + status.idle)

            in_threads(6, read)
        assert 1 < most <= 3

    def test_the_loop_of_a_thread_ends_with_it(self, path: Path) -> None:
        with open_storage(path) as storage:
            for number in range(30):
                thread = threading.Thread(target=lambda number=number: storage.store_agent(an_agent(str(number))))
                thread.start()
                thread.join(LIMIT_SECONDS)
            assert len(storage._storage._engine._submitters) <= 3  # type: ignore[attr-defined]

    def test_the_tasks_that_its_end_cancels_leave_nothing_to_the_garbage_collector(self) -> None:
        started: list[weakref.ref[asyncio.Task[object]]] = []

        async def start_waiting() -> None:
            loop = asyncio.get_running_loop()
            started.append(weakref.ref(loop.create_task(asyncio.sleep(LIMIT_SECONDS))))
            await asyncio.sleep(0)

        gc.disable()
        try:
            loop = calling_thread.CallingThreadLoop()
            loop.call(start_waiting())
            loop.finish()
            assert started[0]() is None
        finally:
            gc.enable()


class TestTogether:
    def test_threads_and_loops_write_to_one_storage_and_lose_nothing(self, storage: BlockingStorage) -> None:
        async def write(number: int) -> None:
            await asyncio.gather(
                *(storage._storage.store_agent(an_agent(f"loop-{number}-{each}")) for each in range(100))
            )

        def work(number: int) -> None:
            if number % 2:
                asyncio.run(write(number))
                return
            for each in range(100):
                storage.store_agent(an_agent(f"thread-{number}-{each}"))
                assert storage.get_agent(f"thread-{number}-{each}") is not None

        in_threads(8, work)

        assert len(storage.list_agents()) == 800

    def test_one_that_fails_fails_alone(self, storage: BlockingStorage) -> None:
        outcomes: list[BaseException | None] = []

        def work(number: int) -> None:
            for _ in range(20):
                try:
                    storage.store_agent(an_agent(f"{number % 4}"))
                    outcomes.append(None)
                except Exception as error:
                    outcomes.append(error)

        in_threads(8, work)

        assert outcomes.count(None) == 4
        assert {type(error) for error in outcomes if error} == {ConflictError}

    def test_a_thread_that_shares_a_transaction_waits_for_its_turn(self, storage: BlockingStorage) -> None:
        with storage.transaction():
            contexts = [copy_context() for _ in range(4)]

            def work(number: int) -> None:
                def store() -> None:
                    for each in range(20):
                        storage.store_agent(an_agent(f"{number}-{each}"))

                contexts[number].run(store)

            in_threads(4, work)
        assert len(storage.list_agents()) == 80

    def test_a_copy_of_the_context_of_a_transaction_that_is_over_refuses(self, storage: BlockingStorage) -> None:
        with storage.transaction():
            context = copy_context()

        with pytest.raises(TransactionError, match="the transaction is over"):
            context.run(storage.store_agent, an_agent())
        assert storage.list_agents() == []

    def test_after_an_end_by_another_thread_calls_stand_alone_again(self, storage: BlockingStorage) -> None:
        transaction = storage.begin_transaction()
        storage.store_agent(an_agent("inside"))

        in_threads(1, lambda _: transaction.commit())

        storage.store_agent(an_agent("after"))
        assert set(ids(storage.list_agents())) == {"inside", "after"}

    def test_a_function_of_modify_may_call_the_storage(self, storage: BlockingStorage) -> None:
        storage.store_many([an_agent("a"), an_agent("b")])

        def rename(agent: AgentModel) -> None:
            other = storage.get_agent("b")
            assert other is not None
            agent.name = other.id

        assert storage.modify(AgentModel, "a", rename).name == "b"

    def test_another_thread_may_go_on_with_a_watcher(self, storage: BlockingStorage) -> None:
        storage.store_many([a_task("a")])
        watcher = storage.watch_tasks()
        assert next(watcher).id == "a"
        taken: list[str] = []

        thread = threading.Thread(target=lambda: taken.append(next(watcher).id))
        thread.start()
        storage.store_task(a_task("b"))
        thread.join(LIMIT_SECONDS)

        assert taken == ["b"]


class TestRunningLoops:
    async def test_in_the_thread_of_a_loop_it_works_and_warns_once(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for target in (path, ":memory:"):
            monkeypatch.setattr(calling_thread, "_has_warned", False)
            with pytest.warns(RuntimeWarning, match="stops this thread's event loop until it returns"):
                storage = open_storage(target)
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                with storage:
                    storage.store_task(a_task())
                    with storage.transaction():
                        assert storage.claim_next_task("agent-1") is not None
                    assert storage.claim_next_task("agent-1", wait=0.01) is None
                    assert ids([next(storage.watch_tasks())]) == ["task-1"]
            assert asyncio.current_task() is not None
            await asyncio.sleep(0)

    async def test_a_warning_that_is_an_error_leaves_nothing_behind(self, monkeypatch: pytest.MonkeyPatch) -> None:
        storage = BlockingStorage(MemoryStorage())
        monkeypatch.setattr(calling_thread, "_has_warned", False)
        with pytest.raises(RuntimeWarning):
            storage.list_agents()

        assert storage.list_agents() == []

    async def test_it_refuses_to_wait_for_a_call_that_it_stops(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(calling_thread, "_has_warned", True)
        async with await SqliteStorage.open(path) as storage:
            async with storage.transaction():
                beside = asyncio.ensure_future(storage.store_many([a_task(), an_agent()]))
                await asyncio.sleep(0)
                with pytest.raises(OtherError, match="another task of this thread's event loop uses the transaction"):
                    BlockingStorage(storage).store_agent(an_agent("blocking"))
                await beside
                BlockingStorage(storage).store_agent(an_agent("later"))
            assert {agent.id for agent in await storage.list_agents()} == {"agent-1", "later"}

    async def test_for_a_server_it_refuses(self) -> None:
        with pytest.raises(OtherError, match="would stop this thread's event loop"):
            open_storage("postgresql://localhost:1/none")


class TestOtherProcesses:
    def test_a_write_waits_for_another_program_and_then_gives_up(self, path: Path) -> None:
        opened: Any = asyncio.run(SqliteStorage.builder().connection_timeout(0.05).build(path))
        with BlockingStorage(opened) as storage:
            with closing(apsw.Connection(str(path))) as other:
                other.execute("BEGIN IMMEDIATE").fetchall()
                with pytest.raises(PoolError, match="another process kept writing"):
                    storage.store_agent(an_agent())
                other.execute("ROLLBACK").fetchall()
            storage.store_agent(an_agent())
            assert ids(storage.list_agents()) == ["agent-1"]
