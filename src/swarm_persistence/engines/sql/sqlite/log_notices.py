"""Notices at once that a process has written to the log, by inotify on Linux.

A poll finds out whether it was another process, and whether the commit is complete. Without notices, as on other
systems or for writes from another machine, the regular polls see the commit later.
"""

import ctypes
import errno
import os
import select
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from enum import Enum
from struct import Struct
from typing import NamedTuple

from swarm_persistence.backoff import Backoff

_IN_MODIFY = 0x2
_IN_IGNORED = 0x8000
_EVENT = Struct("iIII")
_LONGEST_READ = 4096
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


class _FileWatch(NamedTuple):
    """The inotify descriptor that reports writes to a file, and its watch descriptor."""

    descriptor: int
    number: int


class LogNotices:
    """Polls, in a thread of its own, after each write to the log, until it is closed or no longer wanted."""

    def __init__(self, path: str, poll: Callable[[], PollFinding], is_wanted: Callable[[], bool]) -> None:
        """Take the path of the log."""
        self._path = path
        self._poll = poll
        self._is_wanted = is_wanted
        self._lock = threading.Lock()
        self._watch: _FileWatch | None = None
        self._is_closed = False

    @property
    def is_active(self) -> bool:
        """Tell whether the log is being watched."""
        return self._watch is not None

    def start(self) -> None:
        """Start to watch the log, if possible; idempotent."""
        with self._lock:
            if self.is_active or self._is_closed or _inotify is None:
                return
            # All inotify instances may be in use, or the log may have no path; regular polls remain.
            with suppress(OSError):
                self._watch = _inotify.watch(self._path)
                threading.Thread(
                    target=self._run, args=(self._watch,), name="swarm-persistence log notices", daemon=True
                ).start()

    def close(self) -> None:
        """Stop watching the log; the thread ends soon."""
        with self._lock:
            self._is_closed = True
            if self._watch is not None and _inotify is not None:
                _inotify.end(self._watch)

    def _run(self, watch: "_FileWatch") -> None:
        pause = _SHORTEST_PAUSE_SECONDS
        try:
            while True:
                waits_since = time.monotonic()
                if _has_ended(watch) or self._ends_unless_wanted():
                    return  # closed, or the log is deleted
                pause = pause_after(pause, time.monotonic() - waits_since)
                self._poll_until_found(watch)
                time.sleep(pause)
        finally:
            with self._lock:
                if self._watch is watch:  # otherwise another thread has started
                    self._watch = None
            os.close(watch.descriptor)

    def _ends_unless_wanted(self) -> bool:
        """End the watch if it is not wanted, so that the next `start` begins anew; return whether it ended."""
        with self._lock:
            if self._is_wanted():
                return False
            self._watch = None
            return True

    def _poll_until_found(self, watch: "_FileWatch") -> None:
        """Poll until another process's commit is visible, or the log is written to again, which restarts the polling.

        The notice may be of the end of a write by this process, which brings no commit.
        """
        further = select.poll()  # select() takes no descriptor above 1023
        further.register(watch.descriptor, select.POLLIN)
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


def _has_ended(watch: _FileWatch) -> bool:
    """Wait for a write; return whether no more will come."""
    return any(mask & _IN_IGNORED for mask in _masks(os.read(watch.descriptor, _LONGEST_READ)))


def _masks(events: bytes) -> Iterator[int]:
    offset = 0
    while offset < len(events):
        _, mask, _, name_length = _EVENT.unpack_from(events, offset)
        yield mask
        offset += _EVENT.size + name_length


class _Inotify:
    """The functions of the C library that Python does not expose."""

    def __init__(self) -> None:
        library = ctypes.CDLL(None, use_errno=True)
        self._init, self._add, self._remove = (
            library.inotify_init1,
            library.inotify_add_watch,
            library.inotify_rm_watch,
        )
        self._add.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_uint32)

    def watch(self, path: str) -> _FileWatch:
        """Watch the writes to a file."""
        descriptor = _checked(self._init(os.O_CLOEXEC))
        try:
            return _FileWatch(descriptor, _checked(self._add(descriptor, os.fsencode(path), _IN_MODIFY)))
        except OSError:
            os.close(descriptor)
            raise

    def end(self, watch: _FileWatch) -> None:
        """End a watch, which wakes the thread that reads from its descriptor; idempotent."""
        with suppress(OSError):
            _checked(self._remove(*watch))


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno() or errno.EIO
        raise OSError(number, os.strerror(number))
    return result


def _load_inotify() -> _Inotify | None:
    try:
        return _Inotify()
    except (AttributeError, OSError, TypeError):
        return None  # another system


_inotify = _load_inotify()
