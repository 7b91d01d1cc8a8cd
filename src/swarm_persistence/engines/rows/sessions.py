"""What the transactions of both row engines share: savepoints, the time limit, and the end."""

import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import AbstractContextManager
from typing import Any

from swarm_persistence.engines.rows.changes import Changes
from swarm_persistence.engines.rows.overlays import Overlays
from swarm_persistence.engines.transaction_errors import is_over, was_open_too_long


class RowSession:
    """An open transaction. `on_end` is called once, under the lock, when it ends."""

    def __init__(
        self,
        overlays: Overlays,
        lock: AbstractContextManager[object],
        transaction_timeout: float,
        on_end: Callable[[], None],
    ) -> None:
        self.deadline = time.monotonic() + transaction_timeout
        self._overlays = overlays
        self._changes = Changes(overlays.table)
        self._lock = lock
        self._timeout = transaction_timeout
        self._on_end = on_end
        self._is_over = False
        self._failure: Exception | None = None

    @property
    def failure(self) -> Exception | None:
        with self._lock:
            self.expire_if_due()
            return self._failure

    async def savepoint(self, name: str) -> None:
        with self._lock:
            self._require_open()
            self._changes.savepoint(name)

    async def release(self, name: str) -> None:
        with self._lock:
            self._require_open()
            self._changes.release(name)

    async def rollback_to(self, name: str) -> None:
        with self._lock:
            self._require_open()
            self._changes.roll_back_to(name)

    def rollback(self) -> Awaitable[None]:
        with self._lock:
            self.end(None)
        return _Completed()

    def end(self, failure: Exception | None) -> None:
        """Drop the changes and end, for the reason given; called under the lock. A second call does nothing."""
        if self._is_over:
            return
        self._is_over = True
        self._failure = failure
        self._overlays.clear()
        self._changes.forget()
        self._on_end()

    def expire_if_due(self) -> None:
        """End if the transaction has been open for too long; called under the lock."""
        if not self._is_over and time.monotonic() >= self.deadline:
            self.end(was_open_too_long(self._timeout))

    def _require_open(self) -> None:
        self.expire_if_due()
        if self._failure is not None:
            raise self._failure
        if self._is_over:
            raise is_over()


class _Completed:
    """The awaitable of a call that has already done its work, so that a caller need not await it."""

    def __await__(self) -> Generator[Any, None, None]:
        return iter(())  # type: ignore[return-value]
