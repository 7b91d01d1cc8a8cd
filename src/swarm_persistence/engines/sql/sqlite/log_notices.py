"""Notices at once that a process has written to the log, where the operating system tells of that: inotify, on Linux.

A poll finds out whether it was another process, and whether the commit is complete. Without notices, on other systems,
or if a write shows in no local file system, the regular polls see the commit later.
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
"""How long polls go on after a notice: the frames of a commit are written, and on the disk, before it shows."""
_REST_AFTER_OWN_WRITE_SECONDS = 0.002
_SHORTEST_PAUSE_SECONDS = 0.001
_LONGEST_PAUSE_SECONDS = 0.02
"""Between two notices, while one follows the other: then they bring no more than regular polls."""
_REST_SECONDS = 0.01
"""After so long without a notice, those that follow are few: a task that comes, its claim and its completion."""


class PollFinding(Enum):
    """What a poll has found."""

    NOTHING = 1
    OWN_WRITE = 2
    FOREIGN_COMMIT = 3


class _FileWatch(NamedTuple):
    """The descriptor from which the writes to a file are read, and the number of its watch."""

    descriptor: int
    number: int


class LogNotices:
    """Calls a poll, in a thread of its own, after each write to the log, as long as that is wanted."""

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
        """Tell whether writes are noticed."""
        return self._watch is not None

    def start(self) -> None:
        """Notice writes from now on, if that is possible; a second call does nothing."""
        with self._lock:
            if self.is_active or self._is_closed or _inotify is None:
                return
            # All instances may be in use, or the log may stand where no path leads: regular polls do without.
            with suppress(OSError):
                self._watch = _inotify.watch(self._path)
                threading.Thread(
                    target=self._run, args=(self._watch,), name="swarm-persistence log notices", daemon=True
                ).start()

    def close(self) -> None:
        """Notice no more writes; the thread ends soon."""
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
                if self._watch is watch:  # else another thread has begun
                    self._watch = None
            os.close(watch.descriptor)

    def _ends_unless_wanted(self) -> bool:
        """End the notices if they are not wanted, so that the next `start` begins them anew; tell whether it did."""
        with self._lock:
            if self._is_wanted():
                return False
            self._watch = None
            return True

    def _poll_until_found(self, watch: "_FileWatch") -> None:
        """Poll until another process's commit shows, or the log is written to again, which begins anew.

        The notice may have been of the rest of a write by this process, after which no commit shows.
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
    """Return the pause after a notice, from the pause before and the time without a notice since, all in seconds."""
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
    """The calls of the C library, which Python does not offer."""

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
        """End a watch, which wakes the thread that reads from its descriptor; one that has ended is left alone."""
        with suppress(OSError):
            _checked(self._remove(*watch))


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno() or errno.EIO
        raise OSError(number, os.strerror(number))
    return result


def _find_way() -> _Inotify | None:
    try:
        return _Inotify()
    except (AttributeError, OSError, TypeError):
        return None  # another system


_inotify = _find_way()
