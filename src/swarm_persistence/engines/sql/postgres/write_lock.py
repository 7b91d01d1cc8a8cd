"""The write lock of a storage: single writes share it, a caller's transaction holds it exclusively.

It serializes the transactions of one process, as a storage promises. Between processes, PostgreSQL's row locks and the
versions of records do that.
"""

import asyncio
import threading
from collections import deque

from swarm_persistence.engines.transaction_errors import lock_timed_out
from swarm_persistence.errors import PoolError


class WriteLock:
    """A shared and exclusive lock for callers of any event loop, first in, first out."""

    def __init__(self, connection_timeout: float, *, are_shared: bool) -> None:
        self._timeout = connection_timeout
        self._are_shared = are_shared
        self._lock = threading.Lock()
        self._queue: deque[_Waiter] = deque()
        self._sharing = 0
        self._is_held = False
        self._has_begun = False

    def begun(self) -> None:
        """Note that the transaction that holds the lock has its connection."""
        self._has_begun = True

    async def acquire_shared(self, deadline: float) -> None:
        """Wait until no transaction holds the lock exclusively, and share it."""
        await self._take(deadline, is_exclusive=False)

    async def acquire(self, deadline: float) -> None:
        """Wait for the lock, and hold it exclusively, unless transactions may run in parallel."""
        await self._take(deadline, is_exclusive=not self._are_shared)

    def release_shared(self) -> None:
        """Release a shared lock."""
        self._give_up(is_exclusive=False)

    def release(self) -> None:
        """Release the lock of a transaction."""
        self._give_up(is_exclusive=not self._are_shared)

    async def _take(self, deadline: float, *, is_exclusive: bool) -> None:
        with self._lock:
            if not self._queue and self._is_open_to(is_exclusive):
                self._enter(is_exclusive)
                return
            waiter = _Waiter(is_exclusive)
            self._queue.append(waiter)
        try:
            async with asyncio.timeout_at(deadline):
                await waiter.future
        except BaseException as error:
            with self._lock:
                if waiter.is_admitted:
                    self._leave(is_exclusive)
                else:
                    self._queue.remove(waiter)
                admitted = self._admit()
            self._wake(admitted)
            if isinstance(error, TimeoutError):
                raise self._timed_out() from None
            raise

    def _timed_out(self) -> PoolError:
        if self._has_begun:
            return lock_timed_out("storage", self._timeout)
        return PoolError(
            "earlier writes of this storage waited for a connection, or for locks of other processes, for longer than "
            f"connection_timeout ({self._timeout:g} s)"
        )

    def _is_open_to(self, is_exclusive: bool) -> bool:
        return not self._is_held and not (is_exclusive and self._sharing)

    def _enter(self, is_exclusive: bool) -> None:
        if is_exclusive:
            self._is_held = True
        else:
            self._sharing += 1

    def _leave(self, is_exclusive: bool) -> None:
        if is_exclusive:
            self._is_held = self._has_begun = False
        else:
            self._sharing -= 1

    def _give_up(self, *, is_exclusive: bool) -> None:
        with self._lock:
            self._leave(is_exclusive)
            admitted = self._admit()
        self._wake(admitted)

    def _admit(self) -> "list[_Waiter]":
        admitted: list[_Waiter] = []
        while self._queue and self._is_open_to(self._queue[0].is_exclusive):
            waiter = self._queue.popleft()
            if waiter.loop.is_closed():
                continue
            self._enter(waiter.is_exclusive)
            waiter.is_admitted = True
            admitted.append(waiter)
        return admitted

    def _wake(self, admitted: "list[_Waiter]") -> None:
        for waiter in admitted:
            try:
                waiter.loop.call_soon_threadsafe(waiter.admit)
            except RuntimeError:  # the loop was just closed, and with it the waiting caller
                self._give_up(is_exclusive=waiter.is_exclusive)


class _Waiter:
    def __init__(self, is_exclusive: bool) -> None:
        self.is_exclusive = is_exclusive
        self.is_admitted = False
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[None] = self.loop.create_future()

    def admit(self) -> None:
        if not self.future.done():
            self.future.set_result(None)
