"""The limit on open connections, which the pools of all event loops share."""

import threading
from typing import Protocol


class LimitedPool(Protocol):
    """A pool under the limit. Both methods may be called from any thread."""

    def on_slot_free(self) -> bool:
        """Take the slot that the pool has waited for; return whether it could."""
        ...

    def make_room(self) -> None:
        """Close an idle connection, so that another pool can open one."""
        ...


class ConnectionLimit:
    """Counts the free slots, and queues the pools that wait for one."""

    def __init__(self, number: int) -> None:
        self._free = number
        self._lock = threading.Lock()
        self._waiting: dict[LimitedPool, None] = {}
        self._pools: list[LimitedPool] = []

    def register(self, pool: LimitedPool) -> None:
        """Let a pool be asked for its idle connections."""
        with self._lock:
            self._pools.append(pool)

    def unregister(self, pool: LimitedPool) -> None:
        """Forget a pool."""
        with self._lock:
            self._pools = [other for other in self._pools if other is not pool]
            self._waiting.pop(pool, None)

    def acquire(self) -> bool:
        """Take a free slot; return whether there was one."""
        with self._lock:
            if self._free == 0:
                return False
            self._free -= 1
            return True

    def wait(self, pool: LimitedPool) -> None:
        """Queue a pool for the next slot that comes free, and ask the others to close an idle connection."""
        with self._lock:
            self._waiting[pool] = None
            others = [other for other in self._pools if other is not pool]
        for other in others:
            other.make_room()

    def stop_waiting(self, pool: LimitedPool) -> None:
        """Remove a pool from the queue."""
        if self._waiting:
            with self._lock:
                self._waiting.pop(pool, None)

    @property
    def is_wanted(self) -> bool:
        """Return whether a pool waits for a slot."""
        return bool(self._waiting)

    def is_wanted_by_others(self, pool: LimitedPool) -> bool:
        """Return whether another pool waits for a slot."""
        if not self._waiting:
            return False
        with self._lock:
            return any(other is not pool for other in self._waiting)

    def release(self) -> None:
        """Free a slot, or hand it to the pool that has waited longest."""
        while True:
            with self._lock:
                if not self._waiting:
                    self._free += 1
                    return
                pool = next(iter(self._waiting))
                del self._waiting[pool]
            if pool.on_slot_free():
                return
