"""A caller's transaction: it holds the database's exclusive lock until it ends, and writes once, when it commits.

A transaction of IndexedDB ends as soon as its callbacks have nothing more to do, so it cannot be held open. While the
lock is held, no other storage of this package writes to the database, so fetched rows stay current.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from contextvars import Context
from typing import Any, TypeVar

from swarm_persistence.engines.reads import LastSequence, Read
from swarm_persistence.engines.rows.indexeddb import messages
from swarm_persistence.engines.rows.indexeddb.bridge import Bridge, Settled, settle
from swarm_persistence.engines.rows.indexeddb.exchange import Exchange, evaluated
from swarm_persistence.engines.rows.indexeddb.failures import is_quota_exceeded
from swarm_persistence.engines.rows.indexeddb.view import DatabaseView
from swarm_persistence.engines.rows.overlays import Difference, Overlays, OverlayTable
from swarm_persistence.engines.rows.reading import evaluate, finish
from swarm_persistence.engines.rows.sessions import RowSession
from swarm_persistence.engines.rows.steps import compile_steps
from swarm_persistence.engines.steps import Step
from swarm_persistence.errors import DatabaseError
from swarm_persistence.schema.tables import TABLES, Table

T = TypeVar("T")


class IndexedDbSession(RowSession):
    """An open transaction; `ended` is called once it has ended."""

    def __init__(
        self,
        bridge: Bridge,
        lock: int,
        transaction_timeout: float,
        notify: Callable[[list[str]], None],
        ended: "Callable[[IndexedDbSession], None]",
    ) -> None:
        self._view = DatabaseView()
        super().__init__(_SessionOverlays(self._view), nullcontext(), transaction_timeout, self._release)
        self._bridge = bridge
        self._database_lock = lock
        self._notify = notify
        self._ended = ended
        self._timer = asyncio.get_running_loop().call_later(transaction_timeout, self.expire_if_due, context=Context())

    async def write(self, steps: Sequence[Step]) -> list[Any]:
        compiled = compile_steps(steps)

        def run() -> list[Any]:
            mark = self._changes.mark()
            results = self._changes.run(compiled)
            if self._view.is_missing:
                self._changes.undo(mark)
            return results

        self._require_open()
        self._view.want_state()
        self._view.want(steps)
        results = await self._run(run)
        self._changes.settle()
        return results

    async def read(self, read: Read[T]) -> T:
        return finish(read, await self._run(lambda: evaluate(read, self._overlays.table)))

    async def numbers(self) -> Mapping[str, int]:
        """Return the highest sequence number that each table has assigned."""
        return {table.name: await self.read(LastSequence(table)) for table in TABLES}

    async def commit(self) -> None:
        self._require_open()
        differences = self._overlays.differences()
        if not differences:
            self.end(None)
            return
        self._is_over = True
        self._timer.cancel()
        committed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def settled(failure: BaseException | None) -> None:
            # The lock is held until now, even if the caller was cancelled.
            self._release()
            if failure is None:
                self._notify([difference.table.name for difference in differences])
            settle(committed, failure, None)

        self._store(differences, settled)
        await committed

    async def close(self) -> None:
        """End it as a snapshot, which writes nothing: IndexedDB keeps no old rows, so it holds the lock instead."""
        self.end(None)

    def abandon(self) -> None:
        self.end(None)

    def _store(self, differences: Sequence[Difference], settled: Settled, *, is_counted: bool = True) -> None:
        def exchange() -> Exchange[str]:
            text = yield messages.fetch([messages.FETCH_STATE])
            state = messages.state_of(messages.answers_of(text)[0])
            if state != self._view.state:
                raise DatabaseError(
                    "something else has written to the database while this transaction held its lock, so nothing of "
                    "it is stored; try again"
                )
            return messages.write(differences, messages.next_state(state, self._overlays) if is_counted else {})

        def stored(failure: BaseException | None) -> None:
            if is_counted and is_quota_exceeded(failure) and messages.removes_only(differences):
                self._store(differences, settled, is_counted=False)
            else:
                settled(failure)

        self._bridge.write(exchange(), stored, self._database_lock)

    async def _run(self, evaluate: Callable[[], T]) -> T:
        """Drive an exchange, with a transaction of IndexedDB for each fetch."""
        self._require_open()
        exchange = evaluated(self._view, evaluate)
        try:
            message = next(exchange)
            while True:
                answer = await self._bridge.fetch(message)
                self._require_open()
                message = exchange.send(answer)
        except StopIteration as end:
            result: T = end.value
            return result
        finally:
            self._view.forget_bytes()

    def _release(self) -> None:
        self._timer.cancel()
        self._bridge.unlock(self._database_lock)
        self._ended(self)


class _SessionOverlays(Overlays):
    """Overlays that last only once the state of the database is known, which numbers the new rows."""

    def __init__(self, view: DatabaseView) -> None:
        super().__init__(view.table)
        self._view = view

    def table(self, table: Table[Any]) -> OverlayTable:
        if self._view.state is None:
            self._view.want_state()
            return OverlayTable(self._view.table(table))
        return super().table(table)
