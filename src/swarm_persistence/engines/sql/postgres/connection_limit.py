"""How many connections may be open: one number for all event loops of a storage."""

import threading
from typing import Protocol


class LimitedPool(Protocol):
    """Whoever opens connections. Both methods may be called from any thread."""

    def slot_came_free(self) -> bool:
        """Take a place that was waited for, and tell whether somebody is there to take it."""
        ...

    def make_room(self) -> None:
        """Close an idle connection, for another one's sake."""
        ...


class ConnectionLimit:
    """Counts the places that are left, and remembers who waits for one."""

    def __init__(self, number: int) -> None:
        self._free = number
        self._gate = threading.Lock()
        self._waiting: dict[LimitedPool, None] = {}
        self._pools: list[LimitedPool] = []

    def register(self, pool: LimitedPool) -> None:
        """Let a pool know of the others' needs."""
        with self._gate:
            self._pools.append(pool)

    def unregister(self, pool: LimitedPool) -> None:
        """Forget a pool."""
        with self._gate:
            self._pools = [other for other in self._pools if other is not pool]
            self._waiting.pop(pool, None)

    def acquire(self) -> bool:
        """Take a place if one is free."""
        with self._gate:
            if self._free == 0:
                return False
            self._free -= 1
            return True

    def wait(self, pool: LimitedPool) -> None:
        """Stand in the queue for the next place that comes free."""
        with self._gate:
            self._waiting[pool] = None
            others = [other for other in self._pools if other is not pool]
        for other in others:
            other.make_room()

    def stop_waiting(self, pool: LimitedPool) -> None:
        """Leave the queue."""
        if self._waiting:
            with self._gate:
                self._waiting.pop(pool, None)

    @property
    def is_wanted(self) -> bool:
        """Tell whether somebody waits for a place."""
        return bool(self._waiting)

    def is_wanted_by_others(self, pool: LimitedPool) -> bool:
        """Tell whether somebody else waits for a place."""
        if not self._waiting:
            return False
        with self._gate:
            return any(other is not pool for other in self._waiting)

    def release(self) -> None:
        """Give a place back: to the first who waits."""
        while True:
            with self._gate:
                if not self._waiting:
                    self._free += 1
                    return
                pool = next(iter(self._waiting))
                del self._waiting[pool]
            if pool.slot_came_free():
                return
