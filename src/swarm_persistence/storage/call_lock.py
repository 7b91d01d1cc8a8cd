"""A lock that calls of several event loops and threads await, first come, first served."""

import asyncio
from collections import deque

from swarm_persistence.engines.surroundings import new_gate, running_loop


class CallLock:
    """A lock like asyncio's, whose holder and waiters may be in different event loops."""

    def __init__(self) -> None:
        self._gate = new_gate()
        self._is_locked = False
        self._waiters: deque[asyncio.Future[None]] = deque()

    async def acquire(self) -> None:
        """Wait until no other call holds the lock."""
        with self._gate:
            if not self._is_locked:
                self._is_locked = True
                return
            waiter: asyncio.Future[None] = running_loop().create_future()
            self._waiters.append(waiter)
        try:
            await waiter
        except BaseException:
            with self._gate:
                is_waiting = waiter in self._waiters
                if is_waiting:
                    self._waiters.remove(waiter)
            if not is_waiting and not waiter.cancelled():
                self.release()  # it was handed over just now
            raise

    def release(self) -> None:
        """Hand the lock over to the next waiter; from any thread."""
        with self._gate:
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
            waiter.set_result(None)

    async def __aenter__(self) -> None:
        await self.acquire()

    async def __aexit__(self, *_: object) -> None:
        self.release()
