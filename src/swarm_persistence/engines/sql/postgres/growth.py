"""How many connections a pool has: it grows for those who wait, and leaves the last ones of a server to others.

A pool that has a connection needs no other one. So a refused growth fails no call, it is tried again after ever longer
pauses, and a pool that finds a server nearly full gives half of its connections back: then each of many processes has
one, instead of few of them all.
"""

import asyncio
import random
import time
from collections.abc import Callable
from contextvars import Context
from functools import partial
from typing import TYPE_CHECKING, Any

from swarm_persistence.engines.sql.postgres.connector import Connector, UnreachableError
from swarm_persistence.engines.sql.postgres.headroom import Headroom, headroom_of
from swarm_persistence.engines.sql.postgres.link import Link
from swarm_persistence.engines.sql.postgres.places import Places
from swarm_persistence.engines.sql.postgres.settings import Settings
from swarm_persistence.errors import PoolError, StorageError

if TYPE_CHECKING:
    from swarm_persistence.engines.sql.postgres.links import Links

_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 0.5
"""Between two tries to open a first connection."""
_LONGEST_GROWTH_PAUSE_SECONDS = 5.0
"""Between two tries to open another one beside those that are open."""
_BETWEEN_LOOKS_SECONDS = 0.5
"""Between two looks at what the server has left, while there is more than one connection."""


class Growth:
    """The growth of the pool of one event loop."""

    def __init__(
        self, links: "Links", connector: Connector, places: Places, settings: Settings, total: Callable[[], int]
    ) -> None:
        """Take a pool; `total` counts the open connections of all loops."""
        self._links = links
        self._connector = connector
        self._places = places
        self._settings = settings
        self._total = total
        self._openings: list[asyncio.Task[None]] = []
        self._looks: set[asyncio.Task[Headroom]] = set()
        self._pause = _FIRST_PAUSE_SECONDS
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
        if self._links.is_closed or (self._timer is not None and self._links.open):
            return
        most = self._links.waiting if self.trouble is None else min(1, self._links.waiting)
        while len(self._openings) < most:
            if not self._places.take():
                self._places.wait(self._links)
                return
            self._open_one()

    def use_place(self) -> None:
        """Open a connection in a place that was waited for, if it is still wanted."""
        if self._links.waiting <= len(self._openings) or self._links.is_closed:
            self._places.give_back()
            return
        if self._links.waiting > 1:
            self._places.wait(self._links)
        self._open_one()

    def looks_at(self, link: Link) -> bool:
        """Use a connection to look at what the server has left, if that is due; then give it back to the pool."""
        if self._links.open <= 1 or self._connector.has_pooler or time.monotonic() < self._next_look:
            return False
        self._look(link, self._has_looked)
        return True

    def stop(self) -> None:
        """Try no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _open_one(self) -> None:
        task = self._links.loop.create_task(self._open(), context=Context())
        self._openings.append(task)

        def ended(task: "asyncio.Task[None]") -> None:
            if task in self._openings:  # cancelled, perhaps before its first step
                self._openings.remove(task)
                self._places.give_back()

        task.add_done_callback(ended)

    async def _open(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        deadline = time.monotonic() + self._settings.connection_timeout
        pause = _FIRST_PAUSE_SECONDS
        while True:
            try:
                link = await self._connector.open(deadline)
            except UnreachableError as error:
                self.trouble = error.failure
                is_over = error.is_hopeless or time.monotonic() + pause >= deadline
                # Without any connection, one task goes on for all who wait.
                if is_over or self._links.open or self._openings[0] is not task or self._links.is_closed:
                    self._openings.remove(task)
                    self._places.give_back()
                    self._has_failed(is_over=is_over)
                    return
            else:
                self._openings.remove(task)
                self._take_in(link)
                return
            self._ask_other_loops()
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    def _take_in(self, link: Link) -> None:
        is_first = not self._links.open
        self._links.add(link)
        if is_first or self._connector.has_pooler:
            self._has_grown(link)
        else:
            self._look(link, self._has_looked_at_first)

    def _has_grown(self, link: Link) -> None:
        self.trouble = None
        self._pause = _FIRST_PAUSE_SECONDS
        self._links.give_back(link)
        self.grow()

    def _has_failed(self, *, is_over: bool) -> None:
        if self._links.is_closed:
            return
        if not self._links.open:
            if is_over and self.trouble is not None:
                self._links.fail_first(self.trouble)
            self.grow()
            return
        if self._timer is None:
            pause = self._pause * random.uniform(0.5, 1.0)
            self._timer = self._links.loop.call_later(pause, self._grow_again, context=Context())
            self._pause = min(2 * self._pause, _LONGEST_GROWTH_PAUSE_SECONDS)

    def _grow_again(self) -> None:
        self._timer = None
        self.grow()

    def _ask_other_loops(self) -> None:
        if self._total() > self._links.open:
            self._places.wait(self._links)

    def _look(self, link: Link, looked: "Callable[[Link, Headroom | None], None]") -> None:
        self._next_look = time.monotonic() + _BETWEEN_LOOKS_SECONDS
        self._links.begin_errand()
        task = self._links.loop.create_task(headroom_of(link), context=Context())
        self._looks.add(task)
        task.add_done_callback(partial(self._end_look, link, looked))

    def _end_look(
        self, link: Link, looked: "Callable[[Link, Headroom | None], None]", task: "asyncio.Task[Headroom]"
    ) -> None:
        self._looks.discard(task)
        headroom = None
        if task.cancelled() or task.exception() is not None:
            link.terminate()  # it may have been in the midst of the look
        else:
            headroom = task.result()
        self._links.errand_ended()
        looked(link, headroom)

    def _has_looked_at_first(self, link: Link, headroom: Headroom | None) -> None:
        if headroom is None or not headroom.is_used_up or self._links.open <= 1:
            self._has_grown(link)
            return
        self.trouble = PoolError(f"{link.server}: the server has few connections left, and those are for others")
        self._links.drop(link)
        self._has_failed(is_over=False)

    def _has_looked(self, link: Link, headroom: Headroom | None) -> None:
        if headroom is not None and headroom.is_short:
            least = max(1, self._settings.min_idle_connections, self._links.open // 2)
            self.surplus = max(0, self._links.open - least)
        self._links.give_back(link)
        self._links.drop_surplus()
