"""Lets one calling thread read at a time, as long as its reads are short."""

from threading import Lock
from time import sleep

from swarm_persistence.engines.sql.sqlite.submit import held_lock

_SLICE_SECONDS = 0.0002
"""How long the reading thread is left alone by those that wait: they would take the interpreter lock from it."""
_LONGEST_WAIT_SECONDS = 0.005
"""How long a thread waits for one read of another thread; as long as Python lets a thread compute undisturbed."""
_LONGEST_QUEUE_SECONDS = 0.25


class ReadTurns:
    """The lock that a calling thread holds while it reads.

    A read releases the interpreter lock at each row. With several threads at it, each takes that lock from a thread on
    another core each time: ten threads read 0.3 to 0.4 times as much as one. Here, a thread that finds another one
    reading sleeps for a moment, and so leaves the interpreter to it; then it gets the next turn. Behind a read that
    takes long, no thread waits: it reads beside.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        """Of the reads that are short; replaced when one of them proves long."""
        self._next = Lock()
        """Held by the thread whose turn is next."""
        self._is_next_due = False

    def take(self) -> Lock:
        """Wait for the calling thread's turn; return the lock that it must release after its read."""
        lock = self._lock
        if self._is_next_due or not lock.acquire(blocking=False):
            return self._wait()
        return lock

    def _wait(self) -> Lock:
        # Every wait has an end: a finalizer that reads may interrupt its own thread anywhere in here.
        if not self._next.acquire(timeout=_LONGEST_QUEUE_SECONDS):
            return held_lock()
        try:
            lock = self._lock
            if not lock.acquire(blocking=False):
                sleep(_SLICE_SECONDS)
                self._is_next_due = True
                if not lock.acquire(timeout=_LONGEST_WAIT_SECONDS):
                    lock = self._lock = held_lock()
            return lock
        finally:
            self._is_next_due = False
            self._next.release()
