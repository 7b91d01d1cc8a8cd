"""Serializes writes: one open transaction at a time; other writes and transactions queue, first in, first out.

This is not a lock: the thread that ends a transaction runs the queued writes itself, and then wakes their callers in
their event loops. So no writer waits for another one's event loop, which may be blocked, stopped or closed.
PostgreSQL's `WriteLock` has to wake the callers first, for a connection belongs to its caller's event loop.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from contextvars import Context
from typing import Any

from swarm_persistence.engines.nested_calls import waits_for_itself
from swarm_persistence.engines.rows.sessions import RowSession
from swarm_persistence.engines.transaction_errors import lock_timed_out

Action = Callable[[], object]


class DeferredLock:
    """A mutex with a queue of deferred actions. Never hold it across an `await`."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # the thread that holds a `Lock` would wait for itself
        self._is_held = False
        self._actions: deque[Action] = deque()

    def __enter__(self) -> None:
        """Wait for the lock; raise `OtherError` if the calling thread holds it."""
        self._lock.acquire()
        if self._is_held:
            self._lock.release()
            raise waits_for_itself()
        self._is_held = True

    def __exit__(self, *_: object) -> None:
        self._is_held = False
        self._lock.release()
        if self._actions:
            self._run_actions()

    def run_or_defer(self, action: Action) -> None:
        """Run the action under the lock: at once if the lock is free, else when its holder releases it.

        The garbage collector may call this in the thread that holds the lock.
        """
        self._actions.append(action)
        self._run_actions()

    def _run_actions(self) -> None:
        # If the lock is held, its holder finds the action in the queue after it has released the lock.
        while self._actions and self._lock.acquire(blocking=False):
            if self._is_held:
                self._lock.release()
                return
            self._is_held = True
            try:
                while self._actions:
                    self._actions.popleft()()
            finally:
                self._is_held = False
                self._lock.release()


class WriteQueue:
    """The open transaction and the calls that wait for its end. All methods are called under the lock."""

    def __init__(self, lock: DeferredLock, connection_timeout: float) -> None:
        self.lock = lock
        self.transaction: RowSession | None = None
        self.connection_timeout = connection_timeout
        self._queue: dict[QueuedWork, None] = {}

    @property
    def waiting(self) -> int:
        """Return the number of queued calls."""
        return len(self._queue)

    def is_free(self) -> bool:
        """Tell whether no transaction is open; ends one that has timed out."""
        self.expire()
        return self.transaction is None

    def expire(self) -> None:
        """End the open transaction if it has timed out."""
        while self.transaction is not None and time.monotonic() >= self.transaction.deadline:
            self.transaction.expire_if_due()

    def join(self, work: Callable[[], Any], on_abandoned: Callable[[Any], None]) -> "QueuedWork":
        """Queue a call.

        If the caller is cancelled, `on_abandoned` is called once: with the result of the work, or with `None` if it
        has not run.
        """
        waiter = QueuedWork(self, work, on_abandoned)
        self._queue[waiter] = None
        return waiter

    def leave(self, waiter: "QueuedWork") -> bool:
        """Remove a call from the queue, and tell whether it was still queued."""
        try:
            del self._queue[waiter]
        except KeyError:
            return False
        return True

    def release(self) -> None:
        """Forget the transaction, which has ended, and run queued calls until one opens another."""
        self.transaction = None
        while self._queue and self.transaction is None:
            waiter = next(iter(self._queue))
            del self._queue[waiter]
            waiter.run()


class QueuedWork:
    """A queued call, and its caller's event loop."""

    def __init__(self, queue: WriteQueue, work: Callable[[], Any], on_abandoned: Callable[[Any], None]) -> None:
        self._queue = queue
        self._work = work
        self._on_abandoned = on_abandoned
        self._loop = asyncio.get_running_loop()
        self._answer: asyncio.Future[Any] = self._loop.create_future()
        self._deadline = time.monotonic() + queue.connection_timeout
        self._timer: asyncio.TimerHandle | None = None
        self._is_gone = False

    async def wait(self) -> Any:
        """Return the result of the work; `PoolError` if it has not run within `connection_timeout`."""
        try:
            self._watch()
            return await self._answer
        except BaseException:
            self._abandon()
            raise
        finally:
            if self._timer is not None:
                self._timer.cancel()

    def run(self) -> None:
        """Run the work and hand its result to the caller's loop; called under the lock, from any thread."""
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
        except RuntimeError:  # The loop has just been closed.
            self._on_abandoned(result)

    def _receive(self, result: Any, error: Exception | None) -> None:
        if self._is_gone or self._answer.cancelled():
            self._on_abandoned(result)
        elif error is not None:
            self._answer.set_exception(error)
        else:
            self._answer.set_result(result)

    def _abandon(self) -> None:
        self._is_gone = True
        self._queue.lock.run_or_defer(self._withdraw)
        if self._answer.done() and not self._answer.cancelled() and self._answer.exception() is None:
            self._on_abandoned(self._answer.result())

    def _withdraw(self) -> None:
        if self._queue.leave(self):
            self._on_abandoned(None)

    def _watch(self) -> None:
        """Give up after `connection_timeout`, and end the open transaction before that if it times out."""
        with self._queue.lock:
            self._queue.expire()
            now = time.monotonic()
            transaction = self._queue.transaction
            if now < self._deadline and transaction is not None:
                self._timer = self._loop.call_later(
                    min(self._deadline, transaction.deadline) - now, self._watch, context=Context()
                )
                return
            has_timed_out = self._queue.leave(self)
        if has_timed_out:
            self._receive(None, lock_timed_out("storage", self._queue.connection_timeout))
