"""How many connections a pool has: it grows for those who wait, and leaves the last ones of a server to others.

A pool that has a connection needs no other one. So a refused growth fails no call, it is tried again after ever longer
pauses, and a pool that finds a server nearly full gives half of its connections back: then each of many processes has
one, instead of few of them all.
"""

import asyncio
import time
from collections.abc import Callable
from contextvars import Context
from functools import partial
from typing import Any, Protocol

from swarm_persistence.backoff import Backoff
from swarm_persistence.engines.sql.postgres.connection import Connection
from swarm_persistence.engines.sql.postgres.connection_limit import ConnectionLimit, LimitedPool
from swarm_persistence.engines.sql.postgres.connector import Connector, UnreachableError
from swarm_persistence.engines.sql.postgres.headroom import Headroom, headroom_of
from swarm_persistence.engines.sql.postgres.settings import PostgresSettings
from swarm_persistence.errors import PoolError, StorageError

_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 0.5
"""Between two tries to open a first connection."""
_LONGEST_GROWTH_PAUSE_SECONDS = 5.0
"""Between two tries to open another one beside those that are open."""
_BETWEEN_LOOKS_SECONDS = 0.5
"""Between two looks at what the server has left, while there is more than one connection."""


class GrowingPool(LimitedPool, Protocol):
    """A pool, as its growth uses it."""

    loop: asyncio.AbstractEventLoop
    is_closed: bool

    @property
    def open(self) -> int: ...

    @property
    def waiting(self) -> int: ...

    def add(self, connection: Connection) -> None: ...

    def release(self, connection: Connection) -> None: ...

    def drop(self, connection: Connection) -> None: ...

    def drop_surplus(self) -> None: ...

    def fail_first(self, failure: StorageError) -> None: ...

    def begin_errand(self) -> None: ...

    def errand_ended(self) -> None: ...


class Growth:
    """The growth of the pool of one event loop."""

    def __init__(
        self,
        pool: GrowingPool,
        connector: Connector,
        limit: ConnectionLimit,
        settings: PostgresSettings,
        total: Callable[[], int],
    ) -> None:
        """Take a pool; `total` counts the open connections of all loops."""
        self._pool = pool
        self._connector = connector
        self._limit = limit
        self._settings = settings
        self._total = total
        self._openings: list[asyncio.Task[None]] = []
        self._looks: set[asyncio.Task[Headroom]] = set()
        self._backoff = Backoff(_FIRST_PAUSE_SECONDS, _LONGEST_GROWTH_PAUSE_SECONDS)
        self._timer: asyncio.TimerHandle | None = None
        self._next_look = 0.0
        self.surplus = 0
        """How many connections are to be closed, for the sake of others."""
        self.trouble: StorageError | None = None
        """Why the last try to open a connection failed."""

    @property
    def under_way(self) -> list["asyncio.Task[Any]"]:
        """Return the tasks of connections that are about to be open, or are being looked at."""
        return [*self._openings, *self._looks]

    def grow(self) -> None:
        """Open connections for those who wait, as many as may be; one at a time after one could not be had."""
        if self._pool.is_closed or (self._timer is not None and self._pool.open):
            return
        most = self._pool.waiting if self.trouble is None else min(1, self._pool.waiting)
        while len(self._openings) < most:
            if not self._limit.acquire():
                self._limit.wait(self._pool)
                return
            self._open_one()

    def use_slot(self) -> None:
        """Open a connection in a place that was waited for, if it is still wanted."""
        if self._pool.waiting <= len(self._openings) or self._pool.is_closed:
            self._limit.release()
            return
        if self._pool.waiting > 1:
            self._limit.wait(self._pool)
        self._open_one()

    def looks_at(self, connection: Connection) -> bool:
        """Use a connection to look at what the server has left, if that is due; then give it back to the pool."""
        if self._pool.open <= 1 or self._connector.has_pooler or time.monotonic() < self._next_look:
            return False
        self._look(connection, self._has_looked)
        return True

    def stop(self) -> None:
        """Try no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _open_one(self) -> None:
        task = self._pool.loop.create_task(self._open(), context=Context())
        self._openings.append(task)

        def ended(task: "asyncio.Task[None]") -> None:
            if task in self._openings:  # cancelled, perhaps before its first step
                self._openings.remove(task)
                self._limit.release()

        task.add_done_callback(ended)

    async def _open(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        deadline = time.monotonic() + self._settings.connection_timeout
        backoff = Backoff(_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS)
        while True:
            pause = backoff.next()
            try:
                connection = await self._connector.open(deadline)
            except UnreachableError as error:
                self.trouble = error.failure
                is_over = error.is_hopeless or time.monotonic() + pause >= deadline
                # Without any connection, one task goes on for all who wait.
                if is_over or self._pool.open or self._openings[0] is not task or self._pool.is_closed:
                    self._openings.remove(task)
                    self._limit.release()
                    self._has_failed(is_over=is_over)
                    return
            else:
                self._openings.remove(task)
                self._take_in(connection)
                return
            self._ask_other_loops()
            await asyncio.sleep(pause)

    def _take_in(self, connection: Connection) -> None:
        is_first = not self._pool.open
        self._pool.add(connection)
        if is_first or self._connector.has_pooler:
            self._has_grown(connection)
        else:
            self._look(connection, self._has_looked_at_first)

    def _has_grown(self, connection: Connection) -> None:
        self.trouble = None
        self._backoff.reset()
        self._pool.release(connection)
        self.grow()

    def _has_failed(self, *, is_over: bool) -> None:
        if self._pool.is_closed:
            return
        if not self._pool.open:
            if is_over and self.trouble is not None:
                self._pool.fail_first(self.trouble)
            self.grow()
            return
        if self._timer is None:
            self._timer = self._pool.loop.call_later(self._backoff.next(), self._grow_again, context=Context())

    def _grow_again(self) -> None:
        self._timer = None
        self.grow()

    def _ask_other_loops(self) -> None:
        if self._total() > self._pool.open:
            self._limit.wait(self._pool)

    def _look(self, connection: Connection, looked: "Callable[[Connection, Headroom | None], None]") -> None:
        self._next_look = time.monotonic() + _BETWEEN_LOOKS_SECONDS
        self._pool.begin_errand()
        task = self._pool.loop.create_task(headroom_of(connection), context=Context())
        self._looks.add(task)
        task.add_done_callback(partial(self._end_look, connection, looked))

    def _end_look(
        self,
        connection: Connection,
        looked: "Callable[[Connection, Headroom | None], None]",
        task: "asyncio.Task[Headroom]",
    ) -> None:
        self._looks.discard(task)
        headroom = None
        if task.cancelled() or task.exception() is not None:
            connection.terminate()  # it may have been in the midst of the look
        else:
            headroom = task.result()
        self._pool.errand_ended()
        looked(connection, headroom)

    def _has_looked_at_first(self, connection: Connection, headroom: Headroom | None) -> None:
        if headroom is None or not headroom.is_used_up or self._pool.open <= 1:
            self._has_grown(connection)
            return
        self.trouble = PoolError(f"{connection.server}: the server has few connections left, and those are for others")
        self._pool.drop(connection)
        self._has_failed(is_over=False)

    def _has_looked(self, connection: Connection, headroom: Headroom | None) -> None:
        if headroom is not None and headroom.is_short:
            least = max(1, self._settings.min_idle_connections, self._pool.open // 2)
            self.surplus = max(0, self._pool.open - least)
        self._pool.release(connection)
        self._pool.drop_surplus()
