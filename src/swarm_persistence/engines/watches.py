"""Notifies watches of commits: from any thread, in the event loop of each watch."""

import asyncio
from asyncio import events
from collections.abc import Iterable
from typing import Any

from swarm_persistence.clock import wake_when_moved
from swarm_persistence.engines.runtime import new_lock, running_loop
from swarm_persistence.errors import ClosedError
from swarm_persistence.schema.tables import Table


class Watches:
    """The watches of one engine."""

    def __init__(self) -> None:
        self._watches: set[TableWatch] = set()
        self._lock = new_lock()
        self._is_closed = False
        self.is_empty = True
        """Whether there is no watch; an attribute, since every commit reads it."""
        wake_when_moved(self)

    @property
    def names(self) -> frozenset[str]:
        """Return the names of the tables that are watched."""
        with self._lock:
            return frozenset[str]().union(*(watch.names for watch in self._watches))

    def add(self, tables: Iterable[Table[Any]]) -> "TableWatch":
        """Return a watch of these tables."""
        watch = TableWatch(self, frozenset(table.name for table in tables))
        with self._lock:
            if self._is_closed:
                raise ClosedError("the storage is closed")
            self._watches.add(watch)
            self.is_empty = False
        return watch

    def discard(self, watch: "TableWatch") -> None:
        """Forget a watch."""
        with self._lock:
            self._watches.discard(watch)
            self.is_empty = not self._watches

    def notify(self, names: Iterable[str] | None = None) -> None:
        """Wake the watches of any of these tables; with no names, all of them."""
        if not self._watches:
            return
        wanted = None if names is None else frozenset(names)
        with self._lock:
            watches = [watch for watch in self._watches if wanted is None or wanted & watch.names]
        for watch in watches:
            watch.notify()

    def close(self) -> None:
        """Wake all watches; their waits raise `ClosedError` from then on."""
        with self._lock:
            self._is_closed = True
            watches, self._watches = self._watches, set()
            self.is_empty = True
        for watch in watches:
            watch.end()


class TableWatch:
    """A watch of some tables, in the event loop in which it was created."""

    def __init__(self, watches: Watches, names: frozenset[str]) -> None:
        self.names = names
        self._watches = watches
        self._loop = running_loop()
        self._is_notified = False
        self._has_ended = False
        self._waiters: set[asyncio.Future[None]] = set()

    async def wait(self, seconds: float | None = None) -> bool:
        if not self._is_notified:
            await self._wait_within(seconds)
        if self._has_ended:
            raise ClosedError("the storage was closed while this call waited")
        # Reset before the caller reads: a later commit sets it again.
        is_notified, self._is_notified = self._is_notified, False
        return is_notified

    def notify(self) -> None:
        """Note a commit, and wake the waiting calls; from any thread."""
        if self._is_notified:
            return
        self._is_notified = True
        if events._get_running_loop() is self._loop:
            self._wake()
            return
        try:
            self._loop.call_soon_threadsafe(self._wake)
        except RuntimeError:
            self.close()  # the loop is closed, and with it all that waited

    def end(self) -> None:
        """Make waits raise `ClosedError`; from any thread."""
        self._has_ended = True
        self.notify()

    def close(self) -> None:
        self._watches.discard(self)

    async def _wait_within(self, seconds: float | None) -> None:
        waiter: asyncio.Future[None] = self._loop.create_future()
        self._waiters.add(waiter)
        timer = None if seconds is None else self._loop.call_later(seconds, _end_wait, waiter)
        try:
            await waiter
        finally:
            self._waiters.discard(waiter)
            if timer is not None:
                timer.cancel()

    def _wake(self) -> None:
        if not self._is_notified:
            return  # a wait has returned with that commit since; one that follows waits for the next
        for waiter in self._waiters:
            _end_wait(waiter)


def _end_wait(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_result(None)
