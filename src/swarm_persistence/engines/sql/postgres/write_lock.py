"""Whose turn it is to write: writes go side by side, a caller's transaction has the turn for itself.

That is what a storage promises to those who share it in one process; between processes, PostgreSQL's locks and the
versions of records do the work.
"""

import asyncio
import threading
from collections import deque

from swarm_persistence.engines.endings import got_no_turn


class WriteLock:
    """Turns to write, first come, first served, for callers of any event loop."""

    def __init__(self, connection_timeout: float, *, are_shared: bool) -> None:
        self._timeout = connection_timeout
        self._are_shared = are_shared
        self._gate = threading.Lock()
        self._queue: deque[_Waiter] = deque()
        self._sharing = 0
        self._is_held = False

    @property
    def is_held(self) -> bool:
        """Tell whether a transaction has the turn for itself."""
        return self._is_held

    async def share(self, deadline: float) -> None:
        """Wait until no transaction has the turn for itself."""
        await self._take(deadline, is_alone=False)

    async def hold(self, deadline: float) -> None:
        """Wait for the turn, and have it alone, unless transactions may go side by side."""
        await self._take(deadline, is_alone=not self._are_shared)

    def end_share(self) -> None:
        """Give a shared turn back."""
        with self._gate:
            self._sharing -= 1
            admitted = self._admit()
        self._tell(admitted)

    def end_hold(self) -> None:
        """Give a transaction's turn back."""
        with self._gate:
            if self._are_shared:
                self._sharing -= 1
            else:
                self._is_held = False
            admitted = self._admit()
        self._tell(admitted)

    async def _take(self, deadline: float, *, is_alone: bool) -> None:
        with self._gate:
            if not self._queue and self._is_open_to(is_alone):
                self._enter(is_alone)
                return
            waiter = _Waiter(is_alone)
            self._queue.append(waiter)
        try:
            async with asyncio.timeout_at(deadline):
                await waiter.future
        except BaseException as error:
            with self._gate:
                if waiter.is_admitted:
                    self._leave(is_alone)
                else:
                    self._queue.remove(waiter)
                admitted = self._admit()
            self._tell(admitted)
            if isinstance(error, TimeoutError):
                raise got_no_turn("storage", self._timeout) from None
            raise

    def _is_open_to(self, is_alone: bool) -> bool:
        return not self._is_held and not (is_alone and self._sharing)

    def _enter(self, is_alone: bool) -> None:
        if is_alone:
            self._is_held = True
        else:
            self._sharing += 1

    def _leave(self, is_alone: bool) -> None:
        if is_alone:
            self._is_held = False
        else:
            self._sharing -= 1

    def _admit(self) -> "list[_Waiter]":
        admitted: list[_Waiter] = []
        while self._queue and self._is_open_to(self._queue[0].is_alone):
            waiter = self._queue.popleft()
            if waiter.loop.is_closed():
                continue
            self._enter(waiter.is_alone)
            waiter.is_admitted = True
            admitted.append(waiter)
        return admitted

    def _tell(self, admitted: "list[_Waiter]") -> None:
        for waiter in admitted:
            try:
                waiter.loop.call_soon_threadsafe(waiter.admit)
            except RuntimeError:  # the loop was closed just now, and with it whoever waited
                with self._gate:
                    self._leave(waiter.is_alone)
                    following = self._admit()
                self._tell(following)


class _Waiter:
    def __init__(self, is_alone: bool) -> None:
        self.is_alone = is_alone
        self.is_admitted = False
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[None] = self.loop.create_future()

    def admit(self) -> None:
        if not self.future.done():
            self.future.set_result(None)
