"""Facts about finalizers that call the storage in the midst of another call of their thread: none waits for itself."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest

from swarm_persistence import BlockingStorage, OtherError, open_storage
from swarm_persistence.engines.rows.memory.engine import MemoryEngine
from swarm_persistence.engines.sql.sqlite import readers
from swarm_persistence.engines.sql.sqlite.group_commit import Writer
from swarm_persistence.engines.sql.sqlite.loop_submitters import LoopSubmitters
from swarm_persistence.engines.sql.sqlite.writer_connection import WriterConnection
from swarm_persistence_conformance.records import an_agent
from swarm_persistence_conformance.waiting import LIMIT_SECONDS


def in_a_thread(work: Callable[[], object]) -> None:
    """Run a function to its end, in a thread of its own, whose first call of a storage it makes."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(LIMIT_SECONDS)
    assert not thread.is_alive()


class TestFinalizersOnSqlite:
    @pytest.mark.parametrize(("owner", "name"), [(LoopSubmitters, "_of_thread"), (readers, "PooledReader")])
    def test_one_reads_while_its_thread_holds_a_lock(
        self, path: Any, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str
    ) -> None:
        interrupted = getattr(owner, name)
        found: list[object] = []

        def collect_garbage_first(*arguments: Any) -> Any:
            if not found:
                found.append(None)
                found.append(storage.get_agent("agent-1"))
            return interrupted(*arguments)

        with open_storage(path) as storage:
            storage.store_agent(an_agent())
            monkeypatch.setattr(owner, name, collect_garbage_first)
            in_a_thread(lambda: found.append(storage.get_agent("agent-1")))

        assert [getattr(agent, "id", None) for agent in found] == [None, "agent-1", "agent-1"]

    @pytest.mark.parametrize("way", ["alone", "in a group", "in the writer's thread"])
    @pytest.mark.parametrize("is_in_transaction", [False, True], ids=["write", "transaction"])
    def test_one_that_writes_while_its_thread_writes_is_refused_and_that_write_is_done(
        self, path: Any, monkeypatch: pytest.MonkeyPatch, way: str, *, is_in_transaction: bool
    ) -> None:
        confirm = WriterConnection.confirm
        threads: list[str] = []
        errors: list[str] = []

        def write() -> None:
            with storage.transaction() if is_in_transaction else nullcontext():
                storage.store_agent(an_agent("agent-2"))

        def collect_garbage_first(self: WriterConnection) -> None:
            if not threads:
                threads.append(threading.current_thread().name)
                try:
                    write()
                except OtherError as error:
                    errors.append(str(error))
            confirm(self)

        async def store_together() -> None:
            await asyncio.gather(*(storage.storage.store_agent(an_agent(id)) for id in ("agent-1", "agent-3")))

        with open_storage(path) as storage:
            if way == "in a group":
                monkeypatch.setattr(Writer, "lead", lambda *_: False)
            monkeypatch.setattr(WriterConnection, "confirm", collect_garbage_first)
            is_other_thread = way == "in the writer's thread"
            in_a_thread(lambda: asyncio.run(store_together()) if is_other_thread else storage.store_agent(an_agent()))

            assert len(errors) == 1
            assert "in the midst of another call of its thread" in errors[0]
            assert (threads == ["swarm-persistence writer"]) == is_other_thread
            assert {agent.id for agent in storage.list_agents()} - {"agent-3"} == {"agent-1"}


class TestFinalizersInMemory:
    @pytest.fixture
    def storage(self) -> Any:
        with open_storage(":memory:") as storage:
            yield storage

    def test_a_call_within_a_write_is_refused_and_the_write_is_done(
        self, storage: BlockingStorage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        engine = storage.storage._engine
        assert isinstance(engine, MemoryEngine)
        run = engine._run
        calls: list[Callable[[], object]] = [
            lambda: storage.get_agent("agent-1"),
            lambda: storage.store_agent(an_agent("agent-2")),
        ]
        errors: list[str] = []

        def collect_garbage_first(compiled: Any) -> Any:
            for call in calls:
                try:
                    call()
                except OtherError as error:
                    errors.append(str(error))
            return run(compiled)

        monkeypatch.setattr(engine, "_run", collect_garbage_first)
        in_a_thread(lambda: storage.store_agent(an_agent()))
        monkeypatch.undo()

        assert len(errors) == 2
        assert all("in the midst of another call of its thread" in error for error in errors)
        assert [agent.id for agent in storage.list_agents()] == ["agent-1"]
