"""Wakes the calling threads of a large group one after another, so that few of them wait for the interpreter lock."""

from collections import deque
from collections.abc import Callable, Sequence
from threading import Lock
from time import monotonic

FEWEST_CHAINED = 20
"""The fewest threads that are woken one after another: fewer take longer that way than all at once."""
_LATE_SECONDS = 0.001
"""How soon a woken thread must run to wake the next one, and not all others at once."""
WATCH_SECONDS = 0.005
"""How often the writer's thread checks a chain; as long as Python lets a thread compute undisturbed."""
_LEAST_BACK = 0.75
"""The share of a chain's threads that must have submitted something by its end."""
_FEWEST_UNCHAINED = 4
_MOST_UNCHAINED = 256
"""The most groups that are woken at once after a chain that was of no use; the number doubles each time.

It halves with each chain that is of use.
"""


class WakeChain:
    """The threads that wait to be woken: each wakes the next one before it goes on.

    Threads that are all woken at once queue for the interpreter lock: each sleeps twice an operation, and the next
    group begins with the few that are back first. While a chain is active, the writer gathers what the woken threads
    submit, and `on_end` is called once all of them are awake; it returns how many batches were gathered. If few were,
    as the threads do other work between their calls, the next groups are woken at once.

    If a thread is late, is interrupted or times out, it breaks the chain off itself, which wakes all others at once. If
    it never runs, the writer's thread does so within about twice `WATCH_SECONDS`, or the next group. No lock is held
    here, as a finalizer that calls the storage may interrupt its own thread anywhere: two threads that change a chain
    at the same time at most wake one thread too early.
    """

    def __init__(self, on_end: Callable[[], int]) -> None:
        self._on_end = on_end
        self._waiters: deque[Lock] = deque()
        self._woken_at = 0.0
        self._chained = 0
        self._unchained = 0
        self._unchained_next = 0
        self.woken: Lock | None = None
        """On which the thread waited that was woken last, and has not woken the next one; `None` without a chain."""

    @property
    def is_active(self) -> bool:
        """Tell whether threads are being woken one after another."""
        return self.woken is not None or len(self._waiters) > 0

    def wake(self, waiters: Sequence[Lock]) -> None:
        """Wake the threads of a group that wait on these locks."""
        if len(waiters) < FEWEST_CHAINED:
            _release(waiters)
        elif self._unchained:
            self._unchained -= 1
            _release(waiters)
        else:
            self._chained += len(waiters)
            self._waiters += waiters
            if self.woken is None:
                self._wake_next()
            else:
                self.break_off_if_late()

    def pass_on(self) -> None:
        """Wake the next thread; called by the one that waited on `woken`."""
        # If late, another thread computes, and each thread of the chain would wait for the interpreter lock anew.
        if monotonic() - self._woken_at > _LATE_SECONDS:
            self.break_off()
        else:
            self._wake_next()

    def break_off_if_late(self) -> None:
        """Break the chain off if the thread that was woken last has not woken the next one in time."""
        if self.is_active and monotonic() - self._woken_at > _LATE_SECONDS:
            self.break_off()

    def break_off(self) -> None:
        """Wake all threads of the chain at once, and those of the next groups as well."""
        if not self.is_active:
            return
        self._back_off()
        while self.is_active:  # a group may be added meanwhile
            while self._waiters:
                try:
                    self._waiters.popleft().release()
                except IndexError:  # another thread has woken the last one
                    break
            self.woken = None
        self._chained = 0
        self._on_end()

    def _back_off(self) -> None:
        self._unchained = self._unchained_next
        self._unchained_next = min(max(2 * self._unchained_next, _FEWEST_UNCHAINED), _MOST_UNCHAINED)

    def _wake_next(self) -> None:
        while True:
            try:
                waiter = self._waiters.popleft()
            except IndexError:
                self.woken = None
                if self._waiters:
                    continue  # a group was added meanwhile, and left to this thread
                chained, self._chained = self._chained, 0
                if self._on_end() < _LEAST_BACK * chained:
                    self._back_off()
                else:
                    self._unchained_next //= 2
            else:
                self._woken_at = monotonic()
                self.woken = waiter
                waiter.release()
            return


def _release(waiters: Sequence[Lock]) -> None:
    for waiter in waiters:
        waiter.release()
