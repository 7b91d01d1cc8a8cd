"""A lock that calls of several event loops and threads await, first come, first served."""

import asyncio
from collections import deque

from swarm_persistence.engines.runtime import new_lock, running_loop
from swarm_persistence.errors import OtherError


class CallLock:
    """A lock like asyncio's, whose holder and waiters may be in different event loops."""

    def __init__(self) -> None:
        self._mutex = new_lock()
        self._is_locked = False
        self._holder: asyncio.AbstractEventLoop | None = None
        self._waiters: deque[asyncio.Future[None]] = deque()

    async def acquire(self) -> None:
        """Wait until no other call holds the lock.

        Raises:
            OtherError: a call that holds it, or waits for it, belongs to the event loop that this call stops.

        """
        loop = running_loop()
        with self._mutex:
            if not self._is_locked:
                self._is_locked = True
                self._holder = loop
                return
            self._require_progress(loop)
            waiter: asyncio.Future[None] = loop.create_future()
            self._waiters.append(waiter)
        try:
            await waiter
        except BaseException:
            with self._mutex:
                is_waiting = waiter in self._waiters
                if is_waiting:
                    self._waiters.remove(waiter)
            if not is_waiting and not waiter.cancelled():
                self.release()  # it was handed over just now
            raise

    def release(self) -> None:
        """Hand the lock over to the next waiter; from any thread."""
        with self._mutex:
            while self._waiters:
                waiter = self._waiters.popleft()
                try:
                    waiter.get_loop().call_soon_threadsafe(self._hand_over, waiter)
                except RuntimeError:
                    continue  # its loop is closed
                return
            self._is_locked = False

    def _hand_over(self, waiter: "asyncio.Future[None]") -> None:
        if waiter.done():
            self.release()  # it was cancelled meanwhile
        else:
            self._holder = waiter.get_loop()
            waiter.set_result(None)

    def _require_progress(self, loop: asyncio.AbstractEventLoop) -> None:
        stopped = getattr(loop, "stopped_loop", None)
        while stopped is not None:
            if stopped is self._holder or any(waiter.get_loop() is stopped for waiter in self._waiters):
                raise OtherError(
                    "another task of this thread's event loop uses the transaction, and the blocking call stops that "
                    "loop; use the async storage here, or await the task first"
                )
            stopped = getattr(stopped, "stopped_loop", None)

    async def __aenter__(self) -> None:
        await self.acquire()

    async def __aexit__(self, *_: object) -> None:
        self.release()
