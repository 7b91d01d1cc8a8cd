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
            self._turns.release(turn)


@pytest.fixture
def never_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take no read for a long one, however slow the machine is."""
    monkeypatch.setattr(read_turns, "_LONGEST_READ_SECONDS", LIMIT_SECONDS)
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

    @pytest.mark.usefixtures("never_long")
    def test_a_reader_that_waited_for_no_turn_hands_the_lock_on_after_its_read(
        self, turns: ReadTurns, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(read_turns, "_PATIENCE_SECONDS", LIMIT_SECONDS)
        turn = turns.take()
        other = Waiting(turns)

        turns.release(turn)

        assert other.turn() is turn
        assert turn.locked()
        turns.release(turn)
        assert not turn.locked()

    @pytest.mark.usefixtures("never_long")
    def test_a_reader_that_has_waited_reads_on_until_the_end_of_its_turn(
        self, turns: ReadTurns, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(read_turns, "_TURN_SECONDS", LIMIT_SECONDS)
        turn = turns.take()
        reader = Waiting(turns, then_reads=100)
        later = Waiting(turns)
        turns.release(turn)

        assert reader.turn() is turn
        reader.finish()
        assert not later.has_turn.is_set()
        turns._reader, turns._ends_at = threading.get_ident(), 0.0  # its turn is over, and it reads once more
        turns.release(turns.take())

        assert later.turn() is turn
        turns.release(turn)

    @pytest.mark.usefixtures("never_long")
    def test_the_turn_of_a_thread_that_reads_no_more_ends_by_itself(self, turns: ReadTurns) -> None:
        turn = turns.take()
        ended = Waiting(turns, then_reads=1)
        turns.release(turn)
        ended.finish()
        others = [Waiting(turns, then_reads=1) for _ in range(3)]

        for other in others:
            assert other.turn() is turn
            other.finish()

    def test_a_thread_that_is_interrupted_while_it_waits_hands_its_turn_on(
        self, turns: ReadTurns, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        turn = turns.take()

        def interrupted(self: ReadTurns, waiter: Any) -> Any:
            self.release(turn)
            assert waiter.lock is turn
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(ReadTurns, "_lock_for", interrupted)
            with pytest.raises(KeyboardInterrupt):
                turns.take()

        assert not turn.locked()
        assert turns.take() is turn

    def test_a_long_read_delays_the_next_one_only_once(self, turns: ReadTurns, monkeypatch: pytest.MonkeyPatch) -> None:
        long = turns.take()

        turns.release(turns.take())
        with monkeypatch.context() as patch:
            patch.setattr(ReadTurns, "_wait", lambda _: pytest.fail("it waits again"))
            turns.release(turns.take())

        assert long.locked()
        turns.release(long)
        assert not long.locked()
        turns.release(turns.take())

    def test_a_finalizer_that_reads_while_its_thread_waits_does_not_wait_for_itself(
        self, turns: ReadTurns, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        turn = turns.take()
        of_finalizer: list[bool] = []

        def collect_garbage(*_: object) -> bool:
            monkeypatch.undo()
            inner = turns.take()
            of_finalizer.append(inner.locked())
            turns.release(inner)
            return False

        monkeypatch.setattr(ReadTurns, "_is_next", collect_garbage)

        turns.release(turns.take())

        assert of_finalizer == [True]
        assert turn.locked()


class Waiting:
    """A thread that waits for its turn, and then reads; it holds its last turn, if it does not read several times."""

    def __init__(self, turns: ReadTurns, *, then_reads: int = 0) -> None:
        self.has_turn = threading.Event()
        self._turns = turns
        self._then_reads = then_reads
        self._locks: list[Any] = []
        self._thread = threading.Thread(target=self._wait)
        before = len(turns._queue)
        self._thread.start()
        block_until(lambda: len(turns._queue) > before or self.has_turn.is_set())

    def turn(self) -> Any:
        """Return the lock, once the thread has its turn."""
        assert self.has_turn.wait(LIMIT_SECONDS)
        return self._locks[0]

    def finish(self) -> None:
        """Wait until it has read."""
        self._thread.join(LIMIT_SECONDS)
        assert not self._thread.is_alive()

    def _wait(self) -> None:
        lock = self._turns.take()
        self._locks.append(lock)
        self.has_turn.set()
        for _ in range(self._then_reads):
            self._turns.release(lock)
            lock = self._turns.take()
        if self._then_reads:
            self._turns.release(lock)


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
