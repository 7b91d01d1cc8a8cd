"""A caller's own transaction: it holds the lock of the database until it ends, and writes once, when it commits.

A transaction of IndexedDB ends as soon as its callbacks have nothing more to do, so none can be held open. Nobody who
goes the way of this package writes while the lock is held: what was fetched stays true.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import Context
from typing import Any, TypeVar

from swarm_persistence.clock import ManualClock, now, use_clock
from swarm_persistence.engines.endings import is_over, was_open_too_long
from swarm_persistence.engines.interface import Step
from swarm_persistence.engines.reads import LastSequence, Read
from swarm_persistence.engines.rows.changes import Changes
from swarm_persistence.engines.rows.done import Done
from swarm_persistence.engines.rows.indexeddb import messages
from swarm_persistence.engines.rows.indexeddb.bridge import Bridge, Settled
from swarm_persistence.engines.rows.indexeddb.failures import is_for_lack_of_room
from swarm_persistence.engines.rows.indexeddb.view import DatabaseView, Overlays
from swarm_persistence.engines.rows.reading import evaluate, finish
from swarm_persistence.engines.rows.row_source import RowSource
from swarm_persistence.engines.rows.steps import compile_steps
from swarm_persistence.errors import DatabaseError, StorageError
from swarm_persistence.schema.tables import TABLES, Table

T = TypeVar("T")


class IndexedDbSession:
    """An open transaction; `ended` is called once it is over."""

    def __init__(
        self,
        bridge: Bridge,
        lock: int,
        transaction_timeout: float,
        ring: Callable[[list[str]], None],
        ended: "Callable[[IndexedDbSession], None]",
    ) -> None:
        self._ring = ring
        self._bridge = bridge
        self._lock = lock
        self._timeout = transaction_timeout
        self._ended = ended
        self._deadline = time.monotonic() + transaction_timeout
        self._timer = asyncio.get_running_loop().call_later(
            transaction_timeout, self._look_at_the_time, context=Context()
        )
        self._state: messages.State | None = None
        self._fetching: _Outcome | None = None
        self._view = DatabaseView()
        self._overlays = Overlays(self._view)
        self._changes = Changes(self._overlay)
        self._is_over = False
        self._failure: Exception | None = None

    @property
    def failure(self) -> Exception | None:
        self._look_at_the_time()
        return self._failure

    async def write(self, steps: Sequence[Step]) -> list[Any]:
        works = compile_steps(steps)
        self._require_open()
        self._view.want(steps)
        results = await self._run(lambda: self._changes.run(works))
        self._changes.settle()
        return results

    async def read(self, read: Read[T]) -> T:
        if isinstance(read, LastSequence):
            await self._fetch_state()
        result: T = finish(read, await self._run(lambda: evaluate(read, self._overlay)))
        return result

    async def savepoint(self, name: str) -> None:
        self._require_open()
        self._changes.savepoint(name)

    async def release(self, name: str) -> None:
        self._require_open()
        self._changes.release(name)

    async def rollback_to(self, name: str) -> None:
        self._require_open()
        self._changes.roll_back_to(name)

    async def commit(self) -> None:
        self._require_open()
        differences = self._overlays.differences()
        if not differences:
            self._end(None)
            return
        self._is_over = True
        self._timer.cancel()
        committed = _Outcome()

        def settled(failure: BaseException | None) -> None:
            # The lock is kept until now, also if nobody waits for this any more.
            self._let_go()
            if failure is None:
                self._ring([difference.table.name for difference in differences])
            committed.settle(failure)

        self._write(differences, settled)
        await committed.success()

    def rollback(self) -> Awaitable[None]:
        self._end(None)
        return Done()

    async def numbers(self) -> Mapping[str, int]:
        """Return the highest sequence that each table has given out."""
        return {table.name: await self.read(LastSequence(table)) for table in TABLES}

    def abandon(self) -> None:
        self._end(None)

    def close(self, reason: Exception) -> None:
        """End because the engine lets go of the database."""
        self._end(reason)

    def _write(self, differences: Sequence[messages.Difference], settled: Settled, *, is_counted: bool = True) -> None:
        def answer(text: str) -> str:
            state = messages.state_of(messages.answers_of(text)[0])
            if state != self._state:
                raise DatabaseError(
                    "something else has written to the database while this transaction held its lock, so nothing of "
                    "it is stored; try again"
                )
            return messages.write(differences, self._overlays.next_meta(state) if is_counted else {})

        def written(failure: BaseException | None) -> None:
            if is_counted and is_for_lack_of_room(failure) and messages.removes_only(differences):
                self._write(differences, settled, is_counted=False)
            else:
                settled(failure)

        try:
            self._bridge.write(messages.fetch([messages.FETCH_STATE]), answer, written, self._lock)
        except StorageError as error:
            settled(error)

    async def _fetch_state(self) -> None:
        if self._fetching is not None:
            await self._fetching.end()
        if self._state is None:
            self._require_open()
            await self._fetch()

    async def _run(self, evaluate: Callable[[], T]) -> T:
        """Evaluate on what is there, and again after fetching what was missing."""
        clock = ManualClock(now())
        while True:
            if self._fetching is not None and self._fetching.is_under_way:
                # Its caller was cancelled. What it brings must be here before anything else is asked for.
                await self._fetching.end()
            self._require_open()
            mark = self._changes.mark()
            try:
                with use_clock(clock):
                    result = evaluate()
            except Exception:
                if not self._view.missing:
                    raise
            else:
                if not self._view.missing:
                    return result
            self._changes.undo(mark)
            await self._fetch()

    async def _fetch(self) -> None:
        """Fetch what is missing, and, the first time, what is committed."""
        fetch = self._view.fetch()
        is_first = self._state is None
        requests = [messages.FETCH_STATE, *fetch.requests] if is_first else fetch.requests

        def answer(text: str) -> str:
            answers = messages.answers_of(text)
            if is_first:
                self._begin_with(messages.state_of(answers.pop(0)))
            fetch.receive(answers)
            return messages.NOTHING_MORE

        fetching = _Outcome()
        self._bridge.read(messages.fetch(requests), answer, fetching.settle)
        self._fetching = fetching
        await fetching.success()

    def _overlay(self, table: Table[Any]) -> RowSource:
        return self._overlays.table(table)

    def _begin_with(self, state: messages.State) -> None:
        # Nothing was written before this: each write asks for rows first.
        self._state = state
        self._view.start_from(state)
        self._overlays = Overlays(self._view)

    def _end(self, failure: Exception | None) -> None:
        if self._is_over:
            return
        self._is_over = True
        self._failure = failure
        self._let_go()

    def _let_go(self) -> None:
        self._timer.cancel()
        self._bridge.unlock(self._lock)
        self._ended(self)

    def _look_at_the_time(self) -> None:
        if not self._is_over and time.monotonic() >= self._deadline:
            self._end(was_open_too_long(self._timeout))

    def _require_open(self) -> None:
        self._look_at_the_time()
        if self._failure is not None:
            raise self._failure
        if self._is_over:
            raise is_over()


class _Outcome:
    """The end of a transaction of IndexedDB. One who is cancelled while waiting for it leaves it to others."""

    def __init__(self) -> None:
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._failure: BaseException | None = None

    @property
    def is_under_way(self) -> bool:
        """Tell whether there is something to wait for."""
        return not self._ended.done()

    def settle(self, failure: BaseException | None) -> None:
        """Tell whoever waits."""
        if not self._ended.done():
            self._failure = failure
            self._ended.set_result(None)

    async def end(self) -> None:
        """Wait for the end, good or bad."""
        await asyncio.wait((self._ended,))

    async def success(self) -> None:
        """Wait for the end, and raise what was the reason of a bad one."""
        await self.end()
        if self._failure is not None:
            raise self._failure
