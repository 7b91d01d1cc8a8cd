"""An open transaction of the memory engine: its writes lie over the committed rows until it commits."""

import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from swarm_persistence.engines.endings import is_over, was_open_too_long
from swarm_persistence.engines.interface import Step
from swarm_persistence.engines.reads import Read
from swarm_persistence.engines.rows.changes import Changes
from swarm_persistence.engines.rows.done import Done
from swarm_persistence.engines.rows.memory.deferred_lock import DeferredLock
from swarm_persistence.engines.rows.overlays import OverlayTable
from swarm_persistence.engines.rows.reading import evaluate, finish
from swarm_persistence.engines.rows.steps import compile_steps
from swarm_persistence.engines.rows.tables import RowTable
from swarm_persistence.schema.tables import Table

T = TypeVar("T")


class MemorySession:
    """Holds the turn to write until it ends; `release` gives the turn back, under the lock."""

    def __init__(
        self,
        lock: DeferredLock,
        tables: Mapping[str, RowTable],
        release: Callable[[], None],
        transaction_timeout: float,
        ring: Callable[[Iterable[str]], None],
    ) -> None:
        self._ring = ring
        self.deadline = time.monotonic() + transaction_timeout
        self._lock = lock
        self._tables = tables
        self._release = release
        self._timeout = transaction_timeout
        self._overlays: dict[str, OverlayTable] = {}
        self._changes = Changes(self._overlay)
        self._is_over = False
        self._failure: Exception | None = None

    @property
    def failure(self) -> Exception | None:
        with self._lock:
            self._look_at_the_time()
            return self._failure

    async def write(self, steps: Sequence[Step]) -> list[Any]:
        works = compile_steps(steps)
        with self._lock:
            self._require_open()
            results = self._changes.run(works)
            self._changes.settle()
            return results

    async def read(self, read: Read[T]) -> T:
        with self._lock:
            self._require_open()
            found = evaluate(read, self._overlay)
        result: T = finish(read, found)
        return result

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

    async def commit(self) -> None:
        with self._lock:
            self._require_open()
            changed = [name for name, overlay in self._overlays.items() if overlay.has_changes]
            for overlay in self._overlays.values():
                overlay.commit()
            self._end(None)
            self._ring(changed)

    def rollback(self) -> Awaitable[None]:
        with self._lock:
            self._end(None)
        return Done()

    def abandon(self) -> None:
        self._lock.soon(lambda: self._end(None))

    def expire(self) -> None:
        """End because the time is over; called under the lock."""
        self._end(was_open_too_long(self._timeout))

    def close(self, reason: Exception) -> None:
        """End because the engine closes; called under the lock."""
        self._end(reason)

    def _end(self, failure: Exception | None) -> None:
        if self._is_over:
            return
        self._is_over = True
        self._failure = failure
        self._overlays = {}
        self._changes.forget()
        self._release()

    def _look_at_the_time(self) -> None:
        # No timer of its own: whoever asks, or waits for the turn, looks.
        if not self._is_over and time.monotonic() >= self.deadline:
            self.expire()

    def _require_open(self) -> None:
        self._look_at_the_time()
        if self._failure is not None:
            raise self._failure
        if self._is_over:
            raise is_over()

    def _overlay(self, table: Table[Any]) -> OverlayTable:
        overlay = self._overlays.get(table.name)
        if overlay is None:
            overlay = self._overlays[table.name] = OverlayTable(self._tables[table.name])
        return overlay
