"""The growth of a pool: opens connections for waiting callers, and leaves the last ones of a server to other processes.

A pool with one connection can serve all callers. So a refused connection fails no call; it is retried with backoff. And
a pool that finds the server nearly full closes half of its connections, so that every process can have one.
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
"""Between attempts to open the first connection."""
_LONGEST_GROWTH_PAUSE_SECONDS = 5.0
"""Between attempts to open a further connection."""
_BETWEEN_CHECKS_SECONDS = 0.5
"""Between checks of the server's headroom, while the pool has more than one connection."""


class GrowingPool(LimitedPool, Protocol):
    """The part of a pool that its growth uses."""

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

    def fail_longest_waiting(self, failure: StorageError) -> None: ...

    def begin_internal_use(self) -> None: ...

    def end_internal_use(self) -> None: ...


class Growth:
    """Opens the connections of one pool."""

    def __init__(
        self,
        pool: GrowingPool,
        connector: Connector,
        limit: ConnectionLimit,
        settings: PostgresSettings,
        total: Callable[[], int],
    ) -> None:
        """Take a pool; `total` returns how many connections are open over all event loops."""
        self._pool = pool
        self._connector = connector
        self._limit = limit
        self._settings = settings
        self._total = total
        self._openings: list[asyncio.Task[None]] = []
        self._checks: set[asyncio.Task[Headroom]] = set()
        self._backoff = Backoff(_FIRST_PAUSE_SECONDS, _LONGEST_GROWTH_PAUSE_SECONDS)
        self._timer: asyncio.TimerHandle | None = None
        self._next_check = 0.0
        self.surplus = 0
        """How many connections to close, so that other processes can open one."""
        self.trouble: StorageError | None = None
        """Why the last attempt to open a connection failed."""

    @property
    def under_way(self) -> list["asyncio.Task[Any]"]:
        """Return the tasks that open a connection or check the headroom."""
        return [*self._openings, *self._checks]

    def grow(self) -> None:
        """Open connections for waiting callers, up to the limit; one at a time after a failure."""
        if self._pool.is_closed or (self._timer is not None and self._pool.open):
            return
        most = self._pool.waiting if self.trouble is None else min(1, self._pool.waiting)
        while len(self._openings) < most:
            if not self._limit.acquire():
                self._limit.wait(self._pool)
                return
            self._open_one()

    def use_slot(self) -> None:
        """Open a connection in the slot that was waited for, or free it if no caller waits."""
        if self._pool.waiting <= len(self._openings) or self._pool.is_closed:
            self._limit.release()
            return
        if self._pool.waiting > 1:
            self._limit.wait(self._pool)
        self._open_one()

    def checks_headroom(self, connection: Connection) -> bool:
        """Check the server's headroom on a connection if that is due, and release it then; return whether it is due."""
        if self._pool.open <= 1 or self._connector.has_pooler or time.monotonic() < self._next_check:
            return False
        self._check(connection, self._has_checked)
        return True

    def stop(self) -> None:
        """Make no further attempts, and cancel those under way: a server that is silent may take long to refuse."""
        if self._timer is not None:
            self._timer.cancel()
        for opening in self._openings:
            opening.cancel()

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
                self.trouble, is_hopeless = error.failure, error.is_hopeless
            except Exception as error:  # the driver refuses the configuration, or has a bug
                self.trouble, is_hopeless = self._connector.unexpected_error(error), True
            else:
                self._openings.remove(task)
                self._add_opened(connection)
                return
            # The last attempt needs time as well: without it, a mere timeout would replace the cause.
            is_over = is_hopeless or time.monotonic() + 1.5 * pause >= deadline
            # Without any connection, one task keeps retrying for all waiting callers.
            if is_over or self._pool.open or self._openings[0] is not task or self._pool.is_closed:
                self._openings.remove(task)
                self._limit.release()
                self._has_failed(is_over=is_over)
                return
            if self._total() > self._pool.open:
                self._limit.wait(self._pool)  # asks the pools of other loops
            await asyncio.sleep(pause)

    def _add_opened(self, connection: Connection) -> None:
        is_first = not self._pool.open
        self._pool.add(connection)
        if is_first or self._connector.has_pooler:
            self._has_grown(connection)
        else:
            self._check(connection, self._has_checked_new)

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
                self._pool.fail_longest_waiting(self.trouble)
            self.grow()
            return
        if self._timer is None:
            self._timer = self._pool.loop.call_later(self._backoff.next(), self._grow_again, context=Context())

    def _grow_again(self) -> None:
        self._timer = None
        self.grow()

    def _check(self, connection: Connection, checked: "Callable[[Connection, Headroom | None], None]") -> None:
        self._next_check = time.monotonic() + _BETWEEN_CHECKS_SECONDS
        self._pool.begin_internal_use()
        task = self._pool.loop.create_task(headroom_of(connection), context=Context())
        self._checks.add(task)
        task.add_done_callback(partial(self._end_check, connection, checked))

    def _end_check(
        self,
        connection: Connection,
        checked: "Callable[[Connection, Headroom | None], None]",
        task: "asyncio.Task[Headroom]",
    ) -> None:
        self._checks.discard(task)
        headroom = None
        if task.cancelled() or task.exception() is not None:
            connection.terminate()  # its state is unknown
        else:
            headroom = task.result()
        self._pool.end_internal_use()
        checked(connection, headroom)

    def _has_checked_new(self, connection: Connection, headroom: Headroom | None) -> None:
        if headroom is None or not headroom.is_used_up or self._pool.open <= 1:
            self._has_grown(connection)
            return
        self.trouble = PoolError(
            f"{connection.server}: the server has few connections left, which are reserved for other processes"
        )
        self._pool.drop(connection)
        self._has_failed(is_over=False)

    def _has_checked(self, connection: Connection, headroom: Headroom | None) -> None:
        if headroom is not None and headroom.is_short:
            least = max(1, self._settings.min_idle_connections, self._pool.open // 2)
            self.surplus = max(0, self._pool.open - least)
        self._pool.release(connection)
        self._pool.drop_surplus()
