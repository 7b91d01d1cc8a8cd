"""The connection pool of one event loop: acquires, releases, and closes connections that are idle or in excess.

A caller gets whichever comes first: a connection that is released, or a new one (`growth.py`). Callers of different
schemas are served in turn (`FairQueue`).

asyncpg's own pool does not suffice. We ran our tests of faults and full servers over `asyncpg.Pool` 0.32, with
`connect` set to our connector and `reset` to nothing. What failed, and why:

- `test_full_servers`: five of nine. The pool opens a connection inside the call that acquires one, if it has fewer
  than `max_size`. Where the server, the database or the role has none left (`CONNECTION LIMIT 1`, two reads), that call
  fails, although the pool's own connection comes free a moment later; so do the calls of several processes, and of
  several event loops, that share a server with few connections.
- `test_a_restart_is_waited_for`, `test_stores_whose_answers_are_lost_are_stored_once`: for the same reason, a call
  fails if the server refuses a connection while it restarts.
- `test_one_that_comes_free_as_the_time_to_wait_is_over_is_used`: a connection that is released at the deadline is lost
  to the caller whose wait has just expired.
- `test_a_long_line_of_one_tenant_holds_up_no_other_one`: callers wait in one queue, whichever schema they belong to.
- `test_idle_ones_are_closed_but_the_fewest`: the pool closes idle connections even if fewer than `min_size` are left.

A pool belongs to one event loop, so that no limit holds over several of them. Nor does it drop the other idle
connections to a server that has stopped answering.
"""

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from contextvars import Context
from typing import Generic, TypeVar

from swarm_persistence.engines.sql.postgres.connection import Connection
from swarm_persistence.engines.sql.postgres.connection_limit import ConnectionLimit
from swarm_persistence.engines.sql.postgres.connector import Connector
from swarm_persistence.engines.sql.postgres.growth import Growth
from swarm_persistence.engines.sql.postgres.settings import PostgresSettings
from swarm_persistence.errors import ClosedError, PoolError, StorageError, copy_error, with_cause

_GRACE_SECONDS = 1.0
"""How long a caller past its deadline waits for connection attempts that are ending, to report their failure."""


class ConnectionPool:
    """The pool of one event loop. All methods run there, but any thread may call those of `LimitedPool`."""

    def __init__(
        self, connector: Connector, limit: ConnectionLimit, settings: PostgresSettings, total: Callable[[], int]
    ) -> None:
        """Create an empty pool; `total` returns how many connections are open over all event loops."""
        self.loop = asyncio.get_running_loop()
        self._limit = limit
        self._settings = settings
        self._connector = connector
        self._application = connector.application
        self._total = total
        self._idle: deque[Connection] = deque()
        self._in_use: set[Connection] = set()
        self._internal_uses = 0
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
        return len(self._idle) + len(self._in_use)

    @property
    def in_use(self) -> int:
        """Return how many connections are in use."""
        return len(self._in_use) - self._internal_uses

    @property
    def waiting(self) -> int:
        """Return how many callers wait for a connection."""
        return len(self._queue)

    def has_connection_of(self, process: int) -> bool:
        """Tell whether one of the connections is served by this process of the server."""
        return any(each.server_process == process for each in (*self._idle, *self._in_use))

    async def acquire(self, deadline: float, schema: str = "") -> Connection:
        """Return a connection for exclusive use; callers of different schemas are served in turn.

        Raises:
            DatabaseError: no connection is open, and no server can be used; the message gives the reason for each.
            PoolError: no connection came free in time; the message says why no other one could be opened.

        """
        connection = self.acquire_idle()
        if connection is not None:
            return connection
        if self.is_closed:
            raise _closed()
        return await self._wait(deadline, schema)

    def acquire_idle(self) -> Connection | None:
        """Return an idle connection for exclusive use, if there is one."""
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed:
                self._in_use.add(connection)
                return connection
            self._limit.release()
        return None

    def acquire_for_internal_use(self) -> Connection | None:
        """Return an idle connection, if any, for internal work; `in_use` does not count it."""
        connection = self.acquire_idle()
        if connection is not None:
            self.begin_internal_use()
        return connection

    def release_from_internal_use(self, connection: Connection) -> None:
        """Release a connection after internal use."""
        self.end_internal_use()
        self.release(connection)

    def begin_internal_use(self) -> None:
        """Count one of the connections in use as used internally."""
        self._internal_uses += 1

    def end_internal_use(self) -> None:
        """Count it as in use by a caller again."""
        self._internal_uses -= 1

    def release(self, connection: Connection) -> None:
        """Return a connection to the pool."""
        if connection.has_expired:
            self._drop_idle_to(connection.server)
        if connection.has_outdated_plans:
            connection.has_outdated_plans = False
            for other in (*self._idle, *self._in_use):  # otherwise each would fail a transaction
                other.must_prepare_anew = True
        if connection.is_closed or connection.is_in_transaction or self.is_closed:
            self._in_use.discard(connection)
            connection.terminate()
            self._limit.release()
            self._growth.grow()
        elif self._growth.surplus > 0:
            self._growth.surplus -= 1
            self.drop(connection)
        elif connection.owns_session and connection.application_name != self._application.text:
            self._rename(connection)
        elif not self._growth.checks_headroom(connection):
            self._hand_over_or_keep(connection)

    def rename_idle(self) -> None:
        """Set the new application name of idle connections; the others follow when they are released."""
        for connection in [*self._idle]:
            if (
                connection.owns_session
                and not connection.is_closed
                and connection.application_name != self._application.text
            ):
                self._idle.remove(connection)
                self._in_use.add(connection)
                self._rename(connection)

    def add(self, connection: Connection) -> None:
        """Add a new connection, which is in use until it is released."""
        self._in_use.add(connection)

    def drop(self, connection: Connection) -> None:
        """Close a connection that is in use, instead of releasing it."""
        self._in_use.discard(connection)
        self._close_soon(connection)

    def drop_surplus(self) -> None:
        """Close idle connections in excess; those in use are closed when they are released."""
        while self._growth.surplus > 0 and self._idle:
            self._growth.surplus -= 1
            self._close_soon(self._idle.popleft())

    def fail_longest_waiting(self, failure: StorageError) -> None:
        """Fail the caller that has waited longest."""
        if (waiter := self._queue.pop()) is not None:
            waiter.set_exception(copy_error(failure))

    def on_slot_free(self) -> bool:
        """Open a connection in a free slot, for a waiting caller; from any thread."""
        return self._call_soon(self._growth.use_slot)

    def make_room(self) -> None:
        """Close an idle connection, so that another pool can open one; from any thread."""
        self._call_soon(self._close_an_idle_one)

    async def close(self) -> None:
        """Close all connections; those in use are terminated."""
        self._mark_closed()
        idle = [*self._idle]
        self._idle.clear()
        for connection in self._in_use:
            connection.terminate()
        try:
            await asyncio.gather(*(connection.close() for connection in idle))
        finally:
            # A task that is cancelled before its first step has not closed the connection.
            for connection in idle:
                connection.terminate()
                self._limit.release()
        under_way = [*self._closings, *self._renamings, *self._growth.under_way]
        if under_way:
            await asyncio.wait(under_way)

    def terminate(self) -> None:
        """Terminate all connections."""
        self._mark_closed()
        for connection in (*self._idle, *self._in_use):
            connection.terminate()
        for _ in self._idle:
            self._limit.release()
        self._idle.clear()

    def _mark_closed(self) -> None:
        self.is_closed = True
        self._limit.unregister(self)
        self._growth.stop()
        if self._reaper is not None:
            self._reaper.cancel()
            self._reaper = None
        while (waiter := self._queue.pop()) is not None:
            waiter.set_exception(_closed())

    def _hand_over_or_keep(self, connection: Connection) -> None:
        if (waiter := self._queue.pop()) is not None:
            waiter.set_result(connection)
            return
        if self._limit.is_wanted_by_others(self):
            self.drop(connection)
            return
        self._in_use.discard(connection)
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
                await self._wait_for_the_cause(waiter)
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

    async def _wait_for_the_cause(self, waiter: "asyncio.Future[Connection]") -> None:
        tries = self._growth.under_way
        if tries:
            await asyncio.wait((waiter, *tries), timeout=_GRACE_SECONDS, return_when=asyncio.FIRST_COMPLETED)

    def _none_in_time(self) -> PoolError:
        limit = f"connection_timeout ({self._settings.connection_timeout:g} s)"
        outage, trouble = self._connector.outage, self._growth.trouble
        if outage is not None and not self.open:
            return outage.failure_of_a_wait(self._settings)
        if trouble is None and not self.open:
            return PoolError(f"{self._connector.target}: no server has answered within {limit}")
        if trouble is None:
            return PoolError(
                f"all {self._settings.max_connections} connections were in use for longer than {limit}; raise "
                "max_connections, or keep transactions shorter"
            )
        why = f"the {self.open} open ones were in use" if self.open else "there was none"
        message = f"no connection came free within {limit}: {why}, and no further one can be opened: {trouble.message}"
        return with_cause(PoolError(message), trouble.__cause__)

    def _drop_idle_to(self, server: str) -> None:
        """Terminate the idle connections to a server that has not answered: each would time out as well."""
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
            connection.terminate()  # a task that is cancelled before its first step has not closed the connection
            self._limit.release()

        task = self.loop.create_task(connection.close(), context=Context())
        self._closings.add(task)
        task.add_done_callback(closed)

    def _rename(self, connection: Connection) -> None:
        def renamed(task: "asyncio.Task[None]") -> None:
            self._renamings.discard(task)
            if task.cancelled() or task.exception() is not None:
                connection.terminate()  # its state is unknown
            self.release_from_internal_use(connection)

        self.begin_internal_use()
        task = self.loop.create_task(connection.set_application_name(self._application.text), context=Context())
        self._renamings.add(task)
        task.add_done_callback(renamed)

    def _reap_in(self, seconds: float) -> None:
        # In an empty context: the timer would keep the caller's transaction alive.
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

    def _call_soon(self, action: Callable[[], None]) -> bool:
        try:
            self.loop.call_soon_threadsafe(action, context=Context())
        except RuntimeError:  # the loop is closed
            return False
        return True


def _closed() -> ClosedError:
    return ClosedError("the storage is closed, or its event loop has ended")


T = TypeVar("T")


class FairQueue(Generic[T]):
    """The futures of callers that wait: round-robin over schemas, first in, first out within each."""

    def __init__(self) -> None:
        self._lines: OrderedDict[str, deque[asyncio.Future[T]]] = OrderedDict()
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def add(self, schema: str, waiter: "asyncio.Future[T]") -> None:
        """Append a caller to the queue of its schema."""
        line = self._lines.get(schema)
        if line is None:
            line = self._lines[schema] = deque()
        line.append(waiter)
        self._length += 1

    def discard(self, schema: str, waiter: "asyncio.Future[T]") -> None:
        """Remove a caller."""
        line = self._lines.get(schema)
        if line is not None and waiter in line:
            line.remove(waiter)
            self._length -= 1
            if not line:
                del self._lines[schema]

    def pop(self) -> "asyncio.Future[T] | None":
        """Remove and return the first future that is not done, of the next schema in turn; `None` if there is none."""
        while self._lines:
            schema, line = self._lines.popitem(last=False)
            while line:
                waiter = line.popleft()
                self._length -= 1
                if not waiter.done():
                    if line:
                        self._lines[schema] = line
                    return waiter
        return None
