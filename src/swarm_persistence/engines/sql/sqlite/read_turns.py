"""Lets one calling thread read at a time, as long as its reads are short."""

from collections import deque
from threading import Lock, get_ident
from time import monotonic

import msgspec

from swarm_persistence.engines.sql.sqlite.batches import held_lock

_TURN_SECONDS = 0.001
"""How long a thread that has waited reads while others wait: a change of thread costs as much as several reads."""
_PATIENCE_SECONDS = 0.0002
"""How long the next thread waits for one whose turn is over, but which may not read any more."""
_LONGEST_READ_SECONDS = 0.005
"""How long a thread waits for one read of another thread; as long as Python lets a thread compute undisturbed."""
_LONGEST_QUEUE_SECONDS = 0.25


class _WaitingReader(msgspec.Struct, eq=False):
    """A thread in the queue."""

    woken: Lock = msgspec.field(default_factory=held_lock)
    """Released once the turn is the thread's."""
    lock: "Lock | None" = None
    """The lock that it then holds."""


class ReadTurns:
    """The lock that a calling thread holds while it reads.

    A read releases the interpreter lock at each row. With several threads at it, each takes that lock from a thread on
    another core each time: ten threads read 0.3 to 0.4 times as much as one. Here, a thread that finds another one
    reading waits in a queue, and is handed the lock after that read; it may then read for a moment before it hands the
    lock to the next thread. Behind a read that takes long, no thread waits: it reads beside.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        """Of the reads that are short; replaced when one of them proves long."""
        self._queue: deque[_WaitingReader] = deque()
        self._reader = 0
        """The thread whose turn it is, if others wait."""
        self._ends_at = 0.0
        """When its turn ends."""

    def take(self) -> Lock:
        """Wait for the calling thread's turn; return the lock that it must `release` after its read."""
        lock = self._lock
        if (not self._queue or self._reader == get_ident()) and lock.acquire(blocking=False):
            return lock
        return self._wait()

    def release(self, lock: Lock) -> None:
        """End a read; at the end of its turn, hand the lock to the next thread."""
        if self._queue and lock is self._lock and monotonic() >= self._ends_at:
            try:
                waiter = self._queue.popleft()
            except IndexError:
                pass  # it reads beside
            else:
                waiter.lock = lock
                waiter.woken.release()
                return
        lock.release()

    def _wait(self) -> Lock:
        waiter = _WaitingReader()
        self._queue.append(waiter)
        lock: Lock | None = None
        try:
            lock = self._lock_for(waiter)
        finally:
            try:
                self._queue.remove(waiter)
            except ValueError:  # it was handed a lock, or is just being handed one: that will seem to be a long read's
                if lock is not waiter.lock and waiter.lock is not None:
                    self.release(waiter.lock)
        self._reader, self._ends_at = get_ident(), monotonic() + _TURN_SECONDS
        return lock

    def _lock_for(self, waiter: _WaitingReader) -> Lock:
        """Wait until a thread in the queue is handed a lock, or need not wait for that any more."""
        # Every wait has an end: a finalizer that reads may interrupt its own thread anywhere in here.
        started = now = monotonic()
        ahead = len(self._queue) - 1
        while True:
            is_next = self._is_next(waiter)
            if is_next and now >= self._ends_at:
                lock = self._lock
                if lock.acquire(blocking=False):
                    return lock
                if now > max(started, self._ends_at) + _LONGEST_READ_SECONDS:
                    lock = self._lock = held_lock()
                    return lock
            elif now > started + _LONGEST_QUEUE_SECONDS:
                return held_lock()
            patience = _PATIENCE_SECONDS if is_next else 2 * ahead * _TURN_SECONDS
            if waiter.woken.acquire(timeout=max(self._ends_at - now, 0.0) + patience):
                assert waiter.lock is not None
                return waiter.lock
            now = monotonic()

    def _is_next(self, waiter: _WaitingReader) -> bool:
        try:
            return self._queue[0] is waiter
        except IndexError:
            return False
