"""How many connections may be open: one number for all event loops of a storage."""

import threading
from typing import Protocol


class Guest(Protocol):
    """Whoever opens connections. Both methods may be called from any thread."""

    def place_came_free(self) -> bool:
        """Take a place that was waited for, and tell whether somebody is there to take it."""
        ...

    def make_room(self) -> None:
        """Close an idle connection, for another one's sake."""
        ...


class Places:
    """Counts the places that are left, and remembers who waits for one."""

    def __init__(self, number: int) -> None:
        self._free = number
        self._gate = threading.Lock()
        self._waiting: dict[Guest, None] = {}
        self._guests: list[Guest] = []

    def enter(self, guest: Guest) -> None:
        """Let a guest know of the others' needs."""
        with self._gate:
            self._guests.append(guest)

    def leave(self, guest: Guest) -> None:
        """Forget a guest."""
        with self._gate:
            self._guests = [other for other in self._guests if other is not guest]
            self._waiting.pop(guest, None)

    def take(self) -> bool:
        """Take a place if one is free."""
        with self._gate:
            if self._free == 0:
                return False
            self._free -= 1
            return True

    def wait(self, guest: Guest) -> None:
        """Stand in the queue for the next place that comes free."""
        with self._gate:
            self._waiting[guest] = None
            others = [other for other in self._guests if other is not guest]
        for other in others:
            other.make_room()

    def wait_no_more(self, guest: Guest) -> None:
        """Leave the queue."""
        if self._waiting:
            with self._gate:
                self._waiting.pop(guest, None)

    @property
    def is_wanted(self) -> bool:
        """Tell whether somebody waits for a place."""
        return bool(self._waiting)

    def is_wanted_by_others(self, guest: Guest) -> bool:
        """Tell whether somebody else waits for a place."""
        if not self._waiting:
            return False
        with self._gate:
            return any(other is not guest for other in self._waiting)

    def give_back(self) -> None:
        """Give a place back: to the first who waits."""
        while True:
            with self._gate:
                if not self._waiting:
                    self._free += 1
                    return
                guest = next(iter(self._waiting))
                del self._waiting[guest]
            if guest.place_came_free():
                return
