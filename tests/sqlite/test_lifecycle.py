"""Facts about the ends of a storage: closed, closed in flight, dropped, cancelled while it opens, or left at exit."""

import asyncio
import gc
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import apsw
import pytest

from polling import until
from sqlite.programs import run_program
from sqlite.tracing import Watch
from swarm_persistence import ClosedError, SqliteStorage, TransactionError
from swarm_persistence.engines.sql.sqlite.sessions import SqliteSnapshot
from swarm_persistence_conformance.callers import elsewhere
from swarm_persistence_conformance.records import an_agent, ids


class _SlowlyEndingThread(threading.Thread):
    """One that the machine stops for a moment at its end, if it reads."""

    is_ending = False

    def run(self) -> None:
        super().run()
        self.is_ending = True
        if "reader" in self.name:
            time.sleep(0.1)


def threads_of_storages() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("swarm-persistence")]


class TestClose:
    async def test_it_may_be_called_twice(self, path: Path) -> None:
        storage = await SqliteStorage.open(path)

        await storage.close()
        await storage.close()

        with pytest.raises(ClosedError, match="is closed"):
            await storage.list_agents()

    async def test_it_ends_the_threads(self, path: Path) -> None:
        before = set(threads_of_storages())
        storage = await SqliteStorage.open(path)
        await storage.list_agents()
        assert len(set(threads_of_storages()) - before) == 2

        await storage.close()

        assert set(threads_of_storages()) - before == set()

    async def test_it_waits_for_the_last_moment_of_each_thread(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(threading, "Thread", _SlowlyEndingThread)
        storage = await SqliteStorage.open(path)
        await storage.list_agents()
        threads = [thread for thread in threads_of_storages() if isinstance(thread, _SlowlyEndingThread)]
        storage._engine._readers.stop()
        await until(lambda: any(thread.is_ending for thread in threads))

        await storage.close()

        assert [thread.name for thread in threads if thread.is_alive()] == []

    async def test_a_snapshot_that_begins_as_another_thread_closes_is_refused(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        storage = await SqliteStorage.open(path)
        snapshots: list[SqliteSnapshot] = []

        def new(*arguments: Any) -> SqliteSnapshot:
            storage.engine.abandon()
            snapshots.append(SqliteSnapshot(*arguments))
            return snapshots[0]

        monkeypatch.setattr("swarm_persistence.engines.sql.sqlite.engine.SqliteSnapshot", new)
        with pytest.raises(ClosedError):
            await storage.engine.snapshot()
        await storage.close()

        assert snapshots[0].is_closed

    @pytest.mark.parametrize("turns", range(4))
    async def test_calls_in_flight_are_finished(self, path: Path, turns: int) -> None:
        storage = await SqliteStorage.open(path)
        await storage.store_agent(an_agent("known"))
        writes = [asyncio.ensure_future(storage.store_agent(an_agent(f"agent-{number}"))) for number in range(100)]
        reads = [asyncio.ensure_future(storage.get_agent("known")) for _ in range(100)]
        for _ in range(turns):
            await asyncio.sleep(0)

        await storage.close()
        outcomes = await asyncio.gather(*writes, *reads, return_exceptions=True)

        # Those whose task had not begun find it closed; those that had begun are finished.
        errors = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        assert {type(error) for error in errors} == ({ClosedError} if turns == 0 else set())
        async with await SqliteStorage.open(path) as again:
            assert len(await again.list_agents()) == (1 if turns == 0 else 101)

    async def test_an_open_transaction_is_rolled_back(self, path: Path) -> None:
        storage = await SqliteStorage.open(path)
        transaction = await storage.begin_transaction()
        await storage.store_agent(an_agent())

        await storage.close()

        with pytest.raises(TransactionError, match="the storage was closed"):
            await transaction.commit()
        async with await SqliteStorage.open(path) as again:
            assert await again.list_agents() == []

    async def test_one_that_waits_to_begin_is_told(self, path: Path) -> None:
        storage = await SqliteStorage.open(path)
        transaction = await storage.begin_transaction()

        async def begin() -> None:
            await storage.begin_transaction()

        waiting = elsewhere(begin())
        await until(lambda: storage.pool_status().waiting == 1)
        await storage.close()

        with pytest.raises(ClosedError):
            await waiting
        await transaction.rollback()

    def test_calls_of_other_loops_are_finished_or_told(self, path: Path) -> None:
        storage = asyncio.run(SqliteStorage.open(path))
        stored: list[str] = []
        is_busy = threading.Event()

        async def store_until_told(name: str) -> None:
            number = 0
            while True:
                try:
                    await storage.store_agent(an_agent(f"{name}-{number}"))
                except ClosedError:
                    return
                stored.append(f"{name}-{number}")
                number += 1
                is_busy.set()

        async def work(name: str) -> None:
            await asyncio.gather(*(store_until_told(f"{name}-{number}") for number in range(10)))

        threads = [threading.Thread(target=asyncio.run, args=(work(name),)) for name in "abc"]
        for thread in threads:
            thread.start()
        assert is_busy.wait(20)

        asyncio.run(storage.close())

        for thread in threads:
            thread.join(10)
        assert not any(thread.is_alive() for thread in threads)

        async def read() -> list[str]:
            async with await SqliteStorage.open(path) as again:
                return ids(await again.list_agents())

        assert sorted(asyncio.run(read())) == sorted(stored)

    @pytest.mark.parametrize(
        "call",
        [
            lambda storage: storage.store_agent(an_agent()),
            lambda storage: storage.claim_next_task("agent-1"),
            lambda storage: storage.begin_transaction(),
        ],
        ids=["store", "claim", "begin"],
    )
    async def test_close_waits_for_no_lock_that_only_cancelled_calls_need(
        self, path: Path, call: Callable[[SqliteStorage], Coroutine[Any, Any, Any]]
    ) -> None:
        storage = await SqliteStorage.builder().connection_timeout(1000).build(path)
        other = apsw.Connection(str(path))
        other.execute("BEGIN IMMEDIATE")
        waiting = elsewhere(call(storage))
        await until(lambda: storage._engine._busy_handler.wait.is_waiting)
        waiting.cancel()

        async with asyncio.timeout(60):
            await storage.close()

        other.close()

    async def test_a_cancelled_close_closes(self, path: Path) -> None:
        before = set(threads_of_storages())
        storage = await SqliteStorage.open(path)
        await storage.list_agents()

        closing = asyncio.ensure_future(storage.close())
        await asyncio.sleep(0)
        closing.cancel()

        await asyncio.gather(closing, return_exceptions=True)
        await until(lambda: set(threads_of_storages()) <= before)


class TestDropped:
    async def test_one_that_is_dropped_warns_and_its_threads_end(self, path: Path, watch: Watch) -> None:
        before = set(threads_of_storages())
        storage = await SqliteStorage.open(path)
        await storage.store_agent(an_agent())
        await storage.list_agents()

        with pytest.warns(ResourceWarning, match=r"SqliteStorage\(.*\) was dropped without close\(\)"):  # noqa: PT031
            del storage
            gc.collect()

        await until(lambda: set(threads_of_storages()) <= before)
        async with await SqliteStorage.open(path) as again:
            assert ids(await again.list_agents()) == ["agent-1"]

    async def test_one_whose_warning_is_an_error_ends_its_threads_too(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        unraisable: list[object] = []
        monkeypatch.setattr("sys.unraisablehook", unraisable.append)
        before = set(threads_of_storages())
        storage = await SqliteStorage.open(path)

        del storage
        gc.collect()

        await until(lambda: set(threads_of_storages()) <= before)
        assert len(unraisable) == 1

    @pytest.mark.parametrize("turns", [0, 1, 2, 3, 10, 100])
    async def test_an_open_that_is_cancelled_leaves_nothing_open(self, path: Path, watch: Watch, turns: int) -> None:
        before = set(threads_of_storages())
        opening = asyncio.ensure_future(SqliteStorage.builder().min_idle_connections(3).build(path))
        for _ in range(turns):
            await asyncio.sleep(0)

        opening.cancel()
        outcome = (await asyncio.gather(opening, return_exceptions=True))[0]
        if isinstance(outcome, SqliteStorage):
            await outcome.close()

        await until(lambda: set(threads_of_storages()) <= before)
        async with await SqliteStorage.open(path) as storage:
            assert await storage.list_agents() == []


class TestExit:
    """A program that forgets `close` ends all the same, and what was acknowledged is stored."""

    @pytest.mark.parametrize(
        "last",
        [
            "pass",
            "tasks = [asyncio.ensure_future(storage.list_agents()) for _ in range(9)]; await asyncio.sleep(0)",
            "global kept; kept = await storage.begin_transaction()",
            "sys.exit(0)",
            "threading.Thread(target=sys.exit).start()",
        ],
    )
    def test_a_program_that_forgets_to_close_ends(self, path: Path, last: str) -> None:
        source = f"""
            import asyncio, sys, threading
            from swarm_persistence import AgentModel, SqliteStorage

            async def main():
                global storage
                storage = await SqliteStorage.open(sys.argv[1])
                await storage.store_agent(AgentModel(id="acknowledged", name="", agent_type=""))
                await storage.list_agents()
                {last}

            asyncio.run(main())
            """

        run_program(source, path, options=("-W", "ignore"))

        async def read() -> list[str]:
            async with await SqliteStorage.open(path) as storage:
                return ids(await storage.list_agents())

        assert asyncio.run(read()) == ["acknowledged"]

    def test_a_lock_that_a_stopped_thread_holds_does_not_hang_the_end(self, path: Path) -> None:
        # The interpreter stops its daemon threads wherever they are.
        run_program(
            """
            import asyncio, sys
            from swarm_persistence import SqliteStorage

            storage = asyncio.run(SqliteStorage.open(sys.argv[1]))
            storage._engine._readers._lock.acquire()
            """,
            path,
            options=("-W", "ignore"),
        )

    def test_a_program_may_close_at_its_very_end(self, path: Path) -> None:
        run_program(
            """
            import atexit, sys
            from swarm_persistence import AgentModel, open_storage

            storage = open_storage(sys.argv[1])
            atexit.register(storage.close)
            storage.store_agent(AgentModel(name="", agent_type=""))
            """,
            path,
        )

        assert [file.name for file in path.parent.iterdir()] == [path.name]

    def test_a_program_that_waits_for_another_process_can_be_ended(self, path: Path) -> None:
        run_program(
            """
            import asyncio, os, sys, apsw
            from swarm_persistence import AgentModel, SqliteStorage

            async def main():
                storage = await SqliteStorage.open(sys.argv[1])
                holder = apsw.Connection(sys.argv[1])
                holder.execute("BEGIN IMMEDIATE")
                task = asyncio.ensure_future(storage.store_agent(AgentModel(name="", agent_type="")))
                while not storage._engine._busy_handler.wait.is_waiting:
                    await asyncio.sleep(0)

            asyncio.run(main())
            """,
            path,
            options=("-W", "ignore"),
        )
