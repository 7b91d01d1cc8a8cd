"""Whose turn it is to write: one open transaction at a time, and first come, first served for all who wait.

Whoever ends a transaction does the work of those who wait, and tells them in their own event loops. So nobody else
has to wait for a loop that is busy, stopped or closed.
"""

import asyncio
import time
from collections.abc import Callable
from contextvars import Context
from typing import Any

from swarm_persistence.engines.endings import got_no_turn
from swarm_persistence.engines.rows.memory.deferred_lock import DeferredLock
from swarm_persistence.engines.rows.sessions import RowSession


class WriteQueue:
    """The turn to write, and the queue for it. All methods are called under the lock."""

    def __init__(self, lock: DeferredLock, connection_timeout: float) -> None:
        self.lock = lock
        self.holder: RowSession | None = None
        self.connection_timeout = connection_timeout
        self._queue: dict[QueuedWork, None] = {}

    @property
    def waiting(self) -> int:
        """Return how many wait for their turn."""
        return len(self._queue)

    def is_free(self) -> bool:
        """Tell whether a write can be done now; ends a transaction whose time is over."""
        self.expire()
        return self.holder is None

    def expire(self) -> None:
        """End the open transaction if its time is over."""
        while self.holder is not None and time.monotonic() >= self.holder.deadline:
            self.holder.expire_if_due()

    def join(self, work: Callable[[], Any], on_abandoned: Callable[[Any], None]) -> "QueuedWork":
        """Join the queue with some work.

        `on_abandoned` is called once if the caller is cancelled: with the result of the work, or with `None` if it was
        not done.
        """
        waiter = QueuedWork(self, work, on_abandoned)
        self._queue[waiter] = None
        return waiter

    def leave(self, waiter: "QueuedWork") -> bool:
        """Leave the queue, and tell whether the waiter was still in it."""
        try:
            del self._queue[waiter]
        except KeyError:
            return False
        return True

    def release(self) -> None:
        """Give the turn back, and do the work of those who wait."""
        self.holder = None
        while self._queue and self.holder is None:
            waiter = next(iter(self._queue))
            del self._queue[waiter]
            waiter.work()


class QueuedWork:
    """Someone in the queue, with work to be done when the turn comes."""

    def __init__(self, queue: WriteQueue, work: Callable[[], Any], on_abandoned: Callable[[Any], None]) -> None:
        self._writers = queue
        self._work = work
        self._on_abandoned = on_abandoned
        self._loop = asyncio.get_running_loop()
        self._answer: asyncio.Future[Any] = self._loop.create_future()
        self._deadline = time.monotonic() + queue.connection_timeout
        self._timer: asyncio.TimerHandle | None = None
        self._is_gone = False

    async def wait(self) -> Any:
        """Return the result of the work; raises `PoolError` if the turn does not come in time."""
        try:
            self._watch()
            return await self._answer
        except BaseException:
            self._go()
            raise
        finally:
            if self._timer is not None:
                self._timer.cancel()

    def work(self) -> None:
        """Do the work, and answer in the waiter's loop; called under the lock, from any thread."""
        if self._is_gone or self._answer.cancelled() or self._loop.is_closed():
            self._on_abandoned(None)
            return
        result, error = None, None
        try:
            result = self._work()
        except Exception as failure:
            error = failure
        try:
            self._loop.call_soon_threadsafe(self._receive, result, error)
        except RuntimeError:  # The loop was closed just now.
            self._on_abandoned(result)

    def _receive(self, result: Any, error: Exception | None) -> None:
        if self._is_gone or self._answer.cancelled():
            self._on_abandoned(result)
        elif error is not None:
            self._answer.set_exception(error)
        else:
            self._answer.set_result(result)

    def _go(self) -> None:
        self._is_gone = True
        self._writers.lock.soon(self._withdraw)
        if self._answer.done() and not self._answer.cancelled() and self._answer.exception() is None:
            self._on_abandoned(self._answer.result())

    def _withdraw(self) -> None:
        if self._writers.leave(self):
            self._on_abandoned(None)

    def _watch(self) -> None:
        """Give up when the time is over, and see to it that a transaction whose time is over ends before that."""
        with self._writers.lock:
            self._writers.expire()
            now = time.monotonic()
            holder = self._writers.holder
            if now < self._deadline and holder is not None:
                self._timer = self._loop.call_later(
                    min(self._deadline, holder.deadline) - now, self._watch, context=Context()
                )
                return
            has_waited_in_vain = self._writers.leave(self)
        if has_waited_in_vain:
            self._receive(None, got_no_turn("storage", self._writers.connection_timeout))
