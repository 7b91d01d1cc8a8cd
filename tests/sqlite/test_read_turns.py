"""Facts about threads that read at the same time: they take turns, unless a read takes long."""

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from polling import block_until
from sqlite.test_connections import Blockade
from swarm_persistence import BlockingStorage, DatabaseError, open_storage
from swarm_persistence.engines.sql.sqlite import read_turns
from swarm_persistence.engines.sql.sqlite.engine import SqliteEngine
from swarm_persistence.engines.sql.sqlite.read_turns import ReadTurns
from swarm_persistence.engines.sql.statements import TextStatement
from swarm_persistence.schema.tables import AGENTS, Table
from swarm_persistence_conformance.records import an_agent
from swarm_persistence_conformance.waiting import LIMIT_SECONDS


@pytest.fixture
def turns() -> ReadTurns:
    return ReadTurns()


class Readers:
    """Threads that read without pause, and note how many of them do so at a time."""

    def __init__(self, turns: ReadTurns, amount: int) -> None:
        self.most_at_once = 0
        self.reads = [0] * amount
        self._turns = turns
        self._at_once = 0
        self._counting = threading.Lock()
        self._are_over = threading.Event()
        self._threads = [threading.Thread(target=self._read, args=(number,)) for number in range(amount)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._are_over.set()
        for thread in self._threads:
            thread.join(LIMIT_SECONDS)

    def _read(self, number: int) -> None:
        while not self._are_over.is_set():
            turn = self._turns.take()
            with self._counting:
                self._at_once += 1
                self.most_at_once = max(self.most_at_once, self._at_once)
            threading.Event().wait(0)  # releases the interpreter, as a read does
            self.reads[number] += 1
            with self._counting:
                self._at_once -= 1
            turn.release()


@pytest.fixture
def never_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take no read for a long one, however slow the machine is."""
    monkeypatch.setattr(read_turns, "_LONGEST_WAIT_SECONDS", LIMIT_SECONDS)
    monkeypatch.setattr(read_turns, "_LONGEST_QUEUE_SECONDS", LIMIT_SECONDS)


class TestReadTurns:
    @pytest.mark.usefixtures("never_long")
    def test_one_thread_reads_at_a_time_and_each_gets_its_turn(self, turns: ReadTurns) -> None:
        readers = Readers(turns, 6)
        readers.start()
        try:
            block_until(lambda: all(count > 20 for count in readers.reads))
        finally:
            readers.stop()

        assert readers.most_at_once == 1

    def test_a_long_read_delays_the_next_one_only_once(self, turns: ReadTurns, monkeypatch: pytest.MonkeyPatch) -> None:
        long = turns.take()

        beside = turns.take()
        beside.release()
        with monkeypatch.context() as patch:
            patch.setattr(read_turns, "sleep", lambda _: pytest.fail("it waits again"))
            turns.take().release()

        assert long.locked()
        long.release()
        turns.take().release()

    def test_a_finalizer_that_reads_while_its_thread_waits_does_not_wait_for_itself(
        self, turns: ReadTurns, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        turn = turns.take()
        of_finalizer: list[bool] = []

        def collect_garbage(_: float) -> None:
            monkeypatch.undo()
            inner = turns.take()
            of_finalizer.append(inner.locked())
            inner.release()

        monkeypatch.setattr(read_turns, "sleep", collect_garbage)

        turns.take().release()

        assert of_finalizer == [True]
        assert turn.locked()


class TestReads:
    @pytest.fixture
    def storage(self, path: Path) -> Iterator[BlockingStorage]:
        with open_storage(path) as storage:
            storage.store_agent(an_agent())
            yield storage

    def test_a_read_goes_on_beside_one_that_waits(
        self, storage: BlockingStorage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with Blockade() as blockade:
            with monkeypatch.context() as patch:
                patch.setattr(engine_of(storage), "_compile_read", lambda _: (blockade,))
                long = threading.Thread(target=storage.get_agent, args=("agent-1",))
                long.start()
                block_until(lambda: storage.pool_status().active == 1)

            assert storage.get_agent("agent-1") is not None
            assert long.is_alive()
        long.join(LIMIT_SECONDS)
        assert not long.is_alive()

    def test_a_failed_read_ends_its_turn(self, storage: BlockingStorage, monkeypatch: pytest.MonkeyPatch) -> None:
        engine = engine_of(storage)
        turns = engine._readers._turns
        turn = turns._lock
        with monkeypatch.context() as patch:
            patch.setattr(engine, "_compile_read", lambda _: (Unknown(),))
            with pytest.raises(DatabaseError, match="no such function"):
                storage.get_agent("agent-1")

        assert storage.get_agent("agent-1") is not None
        assert not turn.locked()
        assert turns._lock is turn


class Unknown(TextStatement):
    """A statement that SQLite refuses."""

    text: str = "SELECT unknown()"
    values: Sequence[object] = ()
    table: Table[Any] = AGENTS


def engine_of(storage: BlockingStorage) -> SqliteEngine:
    """Return the storage's engine."""
    engine = storage.storage._engine
    assert isinstance(engine, SqliteEngine)
    return engine
