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

from swarm_persistence.engines.sql.postgres.connector import Connector
from swarm_persistence.engines.sql.postgres.failures import again
from swarm_persistence.engines.sql.postgres.fair_queue import FairQueue
from swarm_persistence.engines.sql.postgres.growth import Growth
from swarm_persistence.engines.sql.postgres.link import Link
from swarm_persistence.engines.sql.postgres.places import Places
from swarm_persistence.engines.sql.postgres.settings import Settings
from swarm_persistence.errors import ClosedError, PoolError, StorageError

_LAST_WORD_SECONDS = 1.0
"""How long a caller whose time is over waits for the tries to connect that end at the same time, and know the cause."""


class Links:
    """A pool. All methods but those of a `Guest` run in its loop."""

    def __init__(self, connector: Connector, places: Places, settings: Settings, total: Callable[[], int]) -> None:
        """Make a pool; `total` counts the open connections of all loops."""
        self.loop = asyncio.get_running_loop()
        self._places = places
        self._settings = settings
        self._application = connector.application
        self._total = total
        self._idle: deque[Link] = deque()
        self._lent: set[Link] = set()
        self._errands = 0
        self._queue: FairQueue[Link] = FairQueue()
        self._closings: set[asyncio.Task[None]] = set()
        self._renamings: set[asyncio.Task[None]] = set()
        self._growth = Growth(self, connector, places, settings, total)
        self._reaper: asyncio.TimerHandle | None = None
        self.is_closed = False
        places.enter(self)

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

    async def take(self, deadline: float, schema: str = "") -> Link:
        """Return a connection for the caller alone; where several schemas' callers wait, the schemas take turns.

        Raises:
            DatabaseError: there is none, and no server can be used; the text says why, for each.
            PoolError: none comes free in time; the text says why there are no more.

        """
        link = self._take_idle()
        if link is not None:
            return link
        if self.is_closed:
            raise _closed()
        return await self._wait(deadline, schema)

    def take_for_errand(self) -> Link | None:
        """Return an idle connection, if there is one, for work that nobody has asked for; it is not `lent`."""
        link = self._take_idle()
        if link is not None:
            self.begin_errand()
        return link

    def end_errand(self, link: Link) -> None:
        """Take a connection back from such work."""
        self.errand_ended()
        self.give_back(link)

    def begin_errand(self) -> None:
        """Count one of the lent connections as one that no call has asked for."""
        self._errands += 1

    def errand_ended(self) -> None:
        """Count it as lent again."""
        self._errands -= 1

    def give_back(self, link: Link) -> None:
        """Take a connection back."""
        if link.has_expired:
            self._distrust(link.server)
        if link.has_outdated_plans:
            link.has_outdated_plans = False
            for other in (*self._idle, *self._lent):  # or each would fail a transaction
                other.must_prepare_anew = True
        if link.is_closed or link.is_in_transaction or self.is_closed:
            self._lent.discard(link)
            link.terminate()
            self._places.give_back()
            self._growth.grow()
        elif self._growth.surplus > 0:
            self._growth.surplus -= 1
            self.drop(link)
        elif link.owns_session and link.application_name != self._application.text:
            self._rename(link)
        elif not self._growth.looks_at(link):
            self._lend_or_keep(link)

    def rename_idle(self) -> None:
        """Let the idle connections show under their new name; those that are lent follow when they come back."""
        for link in [*self._idle]:
            if link.owns_session and not link.is_closed and link.application_name != self._application.text:
                self._idle.remove(link)
                self._lent.add(link)
                self._rename(link)

    def add(self, link: Link) -> None:
        """Take a new connection, which is lent until it is given back."""
        self._lent.add(link)

    def drop(self, link: Link) -> None:
        """Close a connection that was lent."""
        self._lent.discard(link)
        self._close_soon(link)

    def drop_surplus(self) -> None:
        """Close idle connections that are too many; those that are lent are closed when they come back."""
        while self._growth.surplus > 0 and self._idle:
            self._growth.surplus -= 1
            self._close_soon(self._idle.popleft())

    def fail_first(self, failure: StorageError) -> None:
        """Let the first who waits have an error."""
        if (waiter := self._queue.pop()) is not None:
            waiter.set_exception(again(failure))

    def place_came_free(self) -> bool:
        """Open a connection for the first who waits; from any thread."""
        return self._ask(self._growth.use_place)

    def make_room(self) -> None:
        """Close an idle connection; from any thread."""
        self._ask(self._close_an_idle_one)

    async def close(self) -> None:
        """Close all connections; those that are lent, at once."""
        self._shut()
        idle = [*self._idle]
        self._idle.clear()
        for link in self._lent:
            link.terminate()
        try:
            await asyncio.gather(*(link.close() for link in idle))
        finally:
            # Whoever is cancelled before its first step has closed nothing.
            for link in idle:
                link.terminate()
                self._places.give_back()
        under_way = [*self._closings, *self._renamings, *self._growth.under_way]
        if under_way:
            await asyncio.wait(under_way)

    def terminate(self) -> None:
        """Drop all connections without a word."""
        self._shut()
        for link in (*self._idle, *self._lent):
            link.terminate()
        for _ in self._idle:
            self._places.give_back()
        self._idle.clear()

    def _shut(self) -> None:
        self.is_closed = True
        self._places.leave(self)
        self._growth.stop()
        if self._reaper is not None:
            self._reaper.cancel()
            self._reaper = None
        while (waiter := self._queue.pop()) is not None:
            waiter.set_exception(_closed())

    def _take_idle(self) -> Link | None:
        while self._idle:
            link = self._idle.pop()
            if not link.is_closed:
                self._lent.add(link)
                return link
            self._places.give_back()
        return None

    def _lend_or_keep(self, link: Link) -> None:
        if (waiter := self._queue.pop()) is not None:
            waiter.set_result(link)
            return
        if self._places.is_wanted_by_others(self):
            self.drop(link)
            return
        self._lent.discard(link)
        link.idle_since = time.monotonic()
        self._idle.append(link)
        if self._reaper is None:
            self._reap_in(self._settings.idle_timeout)

    async def _wait(self, deadline: float, schema: str) -> Link:
        waiter: asyncio.Future[Link] = self.loop.create_future()
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
                self.give_back(waiter.result())
            raise
        finally:
            self._queue.discard(schema, waiter)
            if not self._queue:
                self._places.wait_no_more(self)

    async def _hear_the_cause(self, waiter: "asyncio.Future[Link]") -> None:
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
        for link in [link for link in self._idle if link.server == server]:
            self._idle.remove(link)
            link.terminate()
            self._places.give_back()

    def _close_an_idle_one(self) -> None:
        if self._idle and self._places.is_wanted:
            self._close_soon(self._idle.popleft())

    def _close_soon(self, link: Link) -> None:
        def closed(task: "asyncio.Task[None]") -> None:
            self._closings.discard(task)
            link.terminate()  # a task that is cancelled before its first step has closed nothing
            self._places.give_back()

        task = self.loop.create_task(link.close(), context=Context())
        self._closings.add(task)
        task.add_done_callback(closed)

    def _rename(self, link: Link) -> None:
        def renamed(task: "asyncio.Task[None]") -> None:
            self._renamings.discard(task)
            if task.cancelled() or task.exception() is not None:
                link.terminate()  # it may have been in the midst of it
            self.end_errand(link)

        self.begin_errand()
        task = self.loop.create_task(link.show_as(self._application.text), context=Context())
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
