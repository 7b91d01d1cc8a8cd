"""Notices at once that a process has written to the log, by inotify on Linux.

A poll finds out whether it was another process, and whether the commit is complete. Without notices, as on other
systems or for writes from another machine, the regular polls see the commit later.
"""

import select
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from enum import Enum

from swarm_persistence.backoff import Backoff
from swarm_persistence.engines.sql.sqlite.inotify import ENDED, MODIFIED, Inotify

_LONGEST_COMMIT_SECONDS = 1.0
"""How long to poll after a notice: a commit becomes visible only once its frames are written and synced."""
_REST_AFTER_OWN_WRITE_SECONDS = 0.002
_SHORTEST_PAUSE_SECONDS = 0.001
_LONGEST_PAUSE_SECONDS = 0.02
"""Between notices in quick succession, which are then no better than regular polls."""
_REST_SECONDS = 0.01
"""After so long without a notice, only few are expected to follow: for a new task, its claim and its completion."""


class PollFinding(Enum):
    """The result of a poll."""

    NOTHING = 1
    OWN_WRITE = 2
    FOREIGN_COMMIT = 3


class LogNotices:
    """Polls, in a thread of its own, after each write to the log, until it is closed or no longer wanted."""

    def __init__(self, path: str, poll: Callable[[], PollFinding], is_wanted: Callable[[], bool]) -> None:
        """Take the path of the log."""
        self._path = path
        self._poll = poll
        self._is_wanted = is_wanted
        self._lock = threading.Lock()
        self._events: Inotify | None = None
        self._watch = 0
        self._is_closed = False

    @property
    def is_active(self) -> bool:
        """Tell whether the log is being watched."""
        return self._events is not None

    def start(self) -> None:
        """Start to watch the log, if possible; idempotent."""
        with self._lock:
            if self.is_active or self._is_closed:
                return
            # All queues or threads may be in use, or the log may have no path; regular polls remain.
            with suppress(OSError, RuntimeError):
                events = Inotify(is_blocking=True)
                try:
                    self._watch = events.watch(self._path, MODIFIED)
                    name = "swarm-persistence log notices"
                    threading.Thread(target=self._run, args=(events,), name=name, daemon=True).start()
                except BaseException:
                    events.close()
                    raise
                self._events = events

    def close(self) -> None:
        """Stop watching the log; the thread ends soon."""
        with self._lock:
            self._is_closed = True
            if self._events is not None:
                self._events.end(self._watch)

    def _run(self, events: Inotify) -> None:
        pause = _SHORTEST_PAUSE_SECONDS
        try:
            while True:
                waits_since = time.monotonic()
                # Wait for a write.
                has_ended = any(event & ENDED for event in events.read())
                if has_ended or self._ends_unless_wanted():
                    return  # closed, or the log is deleted
                pause = pause_after(pause, time.monotonic() - waits_since)
                self._poll_until_found(events)
                time.sleep(pause)
        finally:
            with self._lock:
                if self._events is events:  # otherwise another thread has started
                    self._events = None
            events.close()

    def _ends_unless_wanted(self) -> bool:
        """End the watch if it is not wanted, so that the next `start` begins anew; return whether it ended."""
        with self._lock:
            if self._is_wanted():
                return False
            self._events = None
            return True

    def _poll_until_found(self, events: Inotify) -> None:
        """Poll until another process's commit is visible, or the log is written to again, which restarts the polling.

        The notice may be of the end of a write by this process, which brings no commit.
        """
        further = select.poll()  # select() takes no descriptor above 1023
        further.register(events.descriptor, select.POLLIN)
        deadline = time.monotonic() + _LONGEST_COMMIT_SECONDS
        backoff = Backoff(_SHORTEST_PAUSE_SECONDS / 2, _LONGEST_PAUSE_SECONDS)
        while not self._is_closed and (found := self._poll()) is not PollFinding.FOREIGN_COMMIT:
            if found is PollFinding.OWN_WRITE:
                # One notice may stand for several writes: another process may be about to commit, too.
                deadline = min(deadline, time.monotonic() + _REST_AFTER_OWN_WRITE_SECONDS)
            if time.monotonic() >= deadline:
                break
            wait = backoff.next()
            if wait < _SHORTEST_PAUSE_SECONDS:
                time.sleep(wait)  # poll() would round it up to a whole millisecond
            elif further.poll(wait * 1000):
                break


def pause_after(before: float, rest: float) -> float:
    """Return the pause after a notice, given the previous pause and the time without notices since; all in seconds."""
    return _SHORTEST_PAUSE_SECONDS if rest >= _REST_SECONDS else min(2 * before, _LONGEST_PAUSE_SECONDS)
