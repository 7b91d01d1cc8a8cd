"""The connections of one event loop: lent, taken back, closed when idle for long or in the way.

Callers wait for what comes first: a connection that is given back, or a new one (`growth.py`). The schemas that share
the pool take turns (`fair_queue.py`).

asyncpg's own pool does not do. It belongs to one event loop, so that no limit holds for several; it opens connections
in the call that acquires one, which then fails where the server is full, beside connections that come free; it does not
drop the other idle connections to a server that has fallen silent; and it resets the session at each release, which
costs a round trip.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from contextvars import Context

from swarm_persistence.engines.sql.postgres.connection import Connection
from swarm_persistence.engines.sql.postgres.connection_limit import ConnectionLimit
from swarm_persistence.engines.sql.postgres.connector import Connector
from swarm_persistence.engines.sql.postgres.fair_queue import FairQueue
from swarm_persistence.engines.sql.postgres.growth import Growth
from swarm_persistence.engines.sql.postgres.settings import PostgresSettings
from swarm_persistence.errors import ClosedError, PoolError, StorageError, copy_error

_LAST_WORD_SECONDS = 1.0
"""How long a caller whose time is over waits for the tries to connect that end at the same time, and know the cause."""


class ConnectionPool:
    """A pool. All methods but those of a `LimitedPool` run in its loop."""

    def __init__(
        self, connector: Connector, limit: ConnectionLimit, settings: PostgresSettings, total: Callable[[], int]
    ) -> None:
        """Make a pool; `total` counts the open connections of all loops."""
        self.loop = asyncio.get_running_loop()
        self._limit = limit
        self._settings = settings
        self._application = connector.application
        self._total = total
        self._idle: deque[Connection] = deque()
        self._lent: set[Connection] = set()
        self._errands = 0
        self._queue: FairQueue[Connection] = FairQueue()
        self._closings: set[asyncio.Task[None]] = set()
        self._renamings: set[asyncio.Task[None]] = set()
        self._growth = Growth(self, connector, limit, settings, total)
        self._reaper: asyncio.TimerHandle | None = None
        self.is_closed = False
        limit.register(self)

    @property
    def open(self) -> int:
        """Return how many connections are open."""
        return len(self._idle) + len(self._lent)

    @property
    def lent(self) -> int:
        """Return how many connections are in use."""
        return len(self._lent) - self._errands

    @property
    def waiting(self) -> int:
        """Return how many wait for a connection."""
        return len(self._queue)

    async def acquire(self, deadline: float, schema: str = "") -> Connection:
        """Return a connection for the caller alone; where several schemas' callers wait, the schemas take turns.

        Raises:
            DatabaseError: there is none, and no server can be used; the text says why, for each.
            PoolError: none comes free in time; the text says why there are no more.

        """
        connection = self._take_idle()
        if connection is not None:
            return connection
        if self.is_closed:
            raise _closed()
        return await self._wait(deadline, schema)

    def take_for_errand(self) -> Connection | None:
        """Return an idle connection, if there is one, for work that nobody has asked for; it is not `lent`."""
        connection = self._take_idle()
        if connection is not None:
            self.begin_errand()
        return connection

    def end_errand(self, connection: Connection) -> None:
        """Take a connection back from such work."""
        self.errand_ended()
        self.release(connection)

    def begin_errand(self) -> None:
        """Count one of the lent connections as one that no call has asked for."""
        self._errands += 1

    def errand_ended(self) -> None:
        """Count it as lent again."""
        self._errands -= 1

    def release(self, connection: Connection) -> None:
        """Take a connection back."""
        if connection.has_expired:
            self._distrust(connection.server)
        if connection.has_outdated_plans:
            connection.has_outdated_plans = False
            for other in (*self._idle, *self._lent):  # or each would fail a transaction
                other.must_prepare_anew = True
        if connection.is_closed or connection.is_in_transaction or self.is_closed:
            self._lent.discard(connection)
            connection.terminate()
            self._limit.release()
            self._growth.grow()
        elif self._growth.surplus > 0:
            self._growth.surplus -= 1
            self.drop(connection)
        elif connection.owns_session and connection.application_name != self._application.text:
            self._rename(connection)
        elif not self._growth.looks_at(connection):
            self._lend_or_keep(connection)

    def rename_idle(self) -> None:
        """Let the idle connections show under their new name; those that are lent follow when they come back."""
        for connection in [*self._idle]:
            if (
                connection.owns_session
                and not connection.is_closed
                and connection.application_name != self._application.text
            ):
                self._idle.remove(connection)
                self._lent.add(connection)
                self._rename(connection)

    def add(self, connection: Connection) -> None:
        """Take a new connection, which is lent until it is given back."""
        self._lent.add(connection)

    def drop(self, connection: Connection) -> None:
        """Close a connection that was lent."""
        self._lent.discard(connection)
        self._close_soon(connection)

    def drop_surplus(self) -> None:
        """Close idle connections that are too many; those that are lent are closed when they come back."""
        while self._growth.surplus > 0 and self._idle:
            self._growth.surplus -= 1
            self._close_soon(self._idle.popleft())

    def fail_first(self, failure: StorageError) -> None:
        """Let the first who waits have an error."""
        if (waiter := self._queue.pop()) is not None:
            waiter.set_exception(copy_error(failure))

    def slot_came_free(self) -> bool:
        """Open a connection for the first who waits; from any thread."""
        return self._ask(self._growth.use_slot)

    def make_room(self) -> None:
        """Close an idle connection; from any thread."""
        self._ask(self._close_an_idle_one)

    async def close(self) -> None:
        """Close all connections; those that are lent, at once."""
        self._shut()
        idle = [*self._idle]
        self._idle.clear()
        for connection in self._lent:
            connection.terminate()
        try:
            await asyncio.gather(*(connection.close() for connection in idle))
        finally:
            # Whoever is cancelled before its first step has closed nothing.
            for connection in idle:
                connection.terminate()
                self._limit.release()
        under_way = [*self._closings, *self._renamings, *self._growth.under_way]
        if under_way:
            await asyncio.wait(under_way)

    def terminate(self) -> None:
        """Drop all connections without a word."""
        self._shut()
        for connection in (*self._idle, *self._lent):
            connection.terminate()
        for _ in self._idle:
            self._limit.release()
        self._idle.clear()

    def _shut(self) -> None:
        self.is_closed = True
        self._limit.unregister(self)
        self._growth.stop()
        if self._reaper is not None:
            self._reaper.cancel()
            self._reaper = None
        while (waiter := self._queue.pop()) is not None:
            waiter.set_exception(_closed())

    def _take_idle(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed:
                self._lent.add(connection)
                return connection
            self._limit.release()
        return None

    def _lend_or_keep(self, connection: Connection) -> None:
        if (waiter := self._queue.pop()) is not None:
            waiter.set_result(connection)
            return
        if self._limit.is_wanted_by_others(self):
            self.drop(connection)
            return
        self._lent.discard(connection)
        connection.idle_since = time.monotonic()
        self._idle.append(connection)
        if self._reaper is None:
            self._reap_in(self._settings.idle_timeout)

    async def _wait(self, deadline: float, schema: str) -> Connection:
        waiter: asyncio.Future[Connection] = self.loop.create_future()
        self._queue.add(schema, waiter)
        self._growth.grow()
        try:
            await asyncio.wait((waiter,), timeout=max(0.0, deadline - time.monotonic()))
            if not (waiter.done() or self.open):
                await self._hear_the_cause(waiter)
            if not waiter.done():
                raise self._none_in_time()
            return waiter.result()
        except asyncio.CancelledError:
            if waiter.done() and waiter.exception() is None:
                self.release(waiter.result())
            raise
        finally:
            self._queue.discard(schema, waiter)
            if not self._queue:
                self._limit.stop_waiting(self)

    async def _hear_the_cause(self, waiter: "asyncio.Future[Connection]") -> None:
        tries = self._growth.under_way
        if tries:
            await asyncio.wait((waiter, *tries), timeout=_LAST_WORD_SECONDS, return_when=asyncio.FIRST_COMPLETED)

    def _none_in_time(self) -> PoolError:
        limit = f"connection_timeout ({self._settings.connection_timeout:g} s)"
        trouble = self._growth.trouble
        if trouble is None:
            return PoolError(
                f"all {self._settings.max_connections} connections were in use for longer than {limit}; raise "
                "max_connections, or hold transactions for less long"
            )
        why = f"the {self.open} open ones were in use" if self.open else "there was none"
        failure = PoolError(
            f"no connection came free within {limit}: {why}, and no other can be had: {trouble.message}"
        )
        failure.__cause__ = trouble.__cause__
        return failure

    def _distrust(self, server: str) -> None:
        """Drop the idle connections to a server that was silent: each would cost somebody as long a wait."""
        for connection in [connection for connection in self._idle if connection.server == server]:
            self._idle.remove(connection)
            connection.terminate()
            self._limit.release()

    def _close_an_idle_one(self) -> None:
        if self._idle and self._limit.is_wanted:
            self._close_soon(self._idle.popleft())

    def _close_soon(self, connection: Connection) -> None:
        def closed(task: "asyncio.Task[None]") -> None:
            self._closings.discard(task)
            connection.terminate()  # a task that is cancelled before its first step has closed nothing
            self._limit.release()

        task = self.loop.create_task(connection.close(), context=Context())
        self._closings.add(task)
        task.add_done_callback(closed)

    def _rename(self, connection: Connection) -> None:
        def renamed(task: "asyncio.Task[None]") -> None:
            self._renamings.discard(task)
            if task.cancelled() or task.exception() is not None:
                connection.terminate()  # it may have been in the midst of it
            self.end_errand(connection)

        self.begin_errand()
        task = self.loop.create_task(connection.show_as(self._application.text), context=Context())
        self._renamings.add(task)
        task.add_done_callback(renamed)

    def _reap_in(self, seconds: float) -> None:
        # Not in the context of whoever is here just now: it would keep that one's transaction alive.
        self._reaper = self.loop.call_later(seconds, self._reap, context=Context())

    def _reap(self) -> None:
        self._reaper = None
        now = time.monotonic()
        while self._idle and self._idle[0].idle_since + self._settings.idle_timeout <= now:
            if self._total() <= self._settings.min_idle_connections and not self._idle[0].is_closed:
                self._idle[0].idle_since = now
                self._idle.rotate(-1)
                break
            self._close_soon(self._idle.popleft())
        if self._idle:
            self._reap_in(max(0.01, self._idle[0].idle_since + self._settings.idle_timeout - now))

    def _ask(self, action: Callable[[], None]) -> bool:
        try:
            self.loop.call_soon_threadsafe(action, context=Context())
        except RuntimeError:  # the loop is closed
            return False
        return True


def _closed() -> ClosedError:
    return ClosedError("the storage is closed, or its event loop has ended")
