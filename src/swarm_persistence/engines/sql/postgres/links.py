"""The connections of one event loop: lent, taken back, opened when needed, closed when idle for long or in the way."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from contextvars import Context

from swarm_persistence.engines.sql.postgres.connector import Connector
from swarm_persistence.engines.sql.postgres.link import Link
from swarm_persistence.engines.sql.postgres.places import Places
from swarm_persistence.engines.sql.postgres.settings import Settings
from swarm_persistence.errors import ClosedError, PoolError


class Links:
    """A pool. All methods but those of a `Guest` run in its loop."""

    def __init__(self, connector: Connector, places: Places, settings: Settings, total: Callable[[], int]) -> None:
        """Make a pool; `total` counts the open connections of all loops."""
        self.loop = asyncio.get_running_loop()
        self._connector = connector
        self._places = places
        self._settings = settings
        self._total = total
        self._idle: deque[Link] = deque()
        self._lent: set[Link] = set()
        self._errands = 0
        self._queue: deque[asyncio.Future[Link]] = deque()
        self._opening: set[asyncio.Task[None]] = set()
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

    async def take(self, deadline: float) -> Link:
        """Return a connection for the caller alone; `PoolError` if none comes free in time."""
        while self._idle:
            link = self._idle.pop()
            if not link.is_closed:
                self._lent.add(link)
                return link
            self._places.give_back()
        self._require_open()
        if not self._queue and self._places.take():
            return await self._open(deadline)
        return await self._wait(deadline)

    def take_for_errand(self) -> Link | None:
        """Return an idle connection, if there is one, for work that nobody has asked for; it is not `lent`."""
        while self._idle:
            link = self._idle.pop()
            if not link.is_closed:
                self._lent.add(link)
                self._errands += 1
                return link
            self._places.give_back()
        return None

    def end_errand(self, link: Link) -> None:
        """Take a connection back from such work."""
        self._errands -= 1
        self.give_back(link)

    def give_back(self, link: Link) -> None:
        """Take a connection back."""
        self._lent.discard(link)
        if link.has_expired:
            self._distrust(link.server)
        if link.has_outdated_plans:
            link.has_outdated_plans = False
            for other in (*self._idle, *self._lent):  # or each would fail a transaction
                other.must_prepare_anew = True
        if link.is_closed or link.is_in_transaction or self.is_closed:
            link.terminate()
            self._places.give_back()
            return
        while self._queue:
            waiter = self._queue.popleft()
            if not waiter.done():
                self._lent.add(link)
                waiter.set_result(link)
                return
        if self._places.is_wanted_by_others(self):
            self._close_soon(link)
            return
        link.idle_since = time.monotonic()
        self._idle.append(link)
        if self._reaper is None:
            self._reap_in(self._settings.idle_timeout)

    def place_came_free(self) -> bool:
        """Open a connection for the first who waits; from any thread."""
        return self._ask(self._use_place)

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
        if self._opening:
            await asyncio.wait(self._opening)

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
        if self._reaper is not None:
            self._reaper.cancel()
            self._reaper = None
        while self._queue:
            waiter = self._queue.popleft()
            if not waiter.done():
                waiter.set_exception(_closed())

    async def _wait(self, deadline: float) -> Link:
        waiter: asyncio.Future[Link] = self.loop.create_future()
        self._queue.append(waiter)
        self._places.wait(self)
        try:
            async with asyncio.timeout_at(deadline):
                return await waiter
        except TimeoutError:
            if waiter.done() and not waiter.cancelled():  # its answer came in the very moment
                return waiter.result()
            raise PoolError(
                f"all {self._settings.max_connections} connections were in use for longer than connection_timeout "
                f"({self._settings.connection_timeout:g} s); raise max_connections, or hold transactions for less long"
            ) from None
        except BaseException:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self.give_back(waiter.result())
            raise
        finally:
            if waiter in self._queue:
                self._queue.remove(waiter)
            if not self._queue:
                self._places.wait_no_more(self)

    async def _open(self, deadline: float) -> Link:
        """Open a connection in the place that was taken."""
        try:
            link = await self._connector.open(deadline)
        except BaseException:
            self._places.give_back()
            raise
        self._lent.add(link)
        if self.is_closed:
            self.give_back(link)
            raise _closed()
        return link

    def _use_place(self) -> None:
        while self._queue and self._queue[0].done():
            self._queue.popleft()
        if not self._queue or self.is_closed:
            self._places.give_back()
            return
        if len(self._queue) > 1:
            self._places.wait(self)
        task = self.loop.create_task(self._open_for_the_first(), context=Context())
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _open_for_the_first(self) -> None:
        deadline = time.monotonic() + self._settings.connection_timeout
        try:
            link = await self._open(deadline)
        except Exception as error:
            while self._queue:
                waiter = self._queue.popleft()
                if not waiter.done():
                    waiter.set_exception(error)
                    return
            return
        self.give_back(link)

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
            self._opening.discard(task)
            link.terminate()  # a task that is cancelled before its first step has closed nothing
            self._places.give_back()

        task = self.loop.create_task(link.close(), context=Context())
        self._opening.add(task)
        task.add_done_callback(closed)

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

    def _require_open(self) -> None:
        if self.is_closed:
            raise _closed()


def _closed() -> ClosedError:
    return ClosedError("the storage is closed, or its event loop has ended")
