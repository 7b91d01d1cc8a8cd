"""Linux's inotify, which Python does not expose: the system reports what any process of the machine does to files."""

import ctypes
import errno
import os
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from importlib import import_module
from struct import Struct
from typing import Any

# https://man7.org/linux/man-pages/man7/inotify.7.html
MODIFIED = 0x2
ATTRIBUTES_CHANGED = 0x4
"""Among them the number of links: the file was deleted, or another one was renamed to its path."""
DELETED = 0x400
MOVED = 0x800
ENDED = 0x8000
"""The watch has ended: no more of its events will come."""
_EVENT = Struct("iIII")
_LONGEST_READ = 4096


class Inotify:
    """A queue of events."""

    def __init__(self, *, is_blocking: bool) -> None:
        """Create a queue; with `is_blocking`, `read` waits for an event.

        Raises:
            OSError: this is another system, or all queues of this user, or descriptors of this process, are in use.

        """
        if _library is None:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        self._library = _library
        self.descriptor = _checked(_library.inotify_init1(os.O_CLOEXEC | (0 if is_blocking else os.O_NONBLOCK)))
        """For `poll`."""
        self.waiting = ctypes.c_int()
        """How many bytes of events are in the queue, as the last call of `count` has found."""
        # A function of C with its arguments, already converted: each commit calls it. It keeps the interpreter lock.
        self.count = partial(
            _ioctl, ctypes.c_int(self.descriptor), ctypes.c_ulong(_FIONREAD), ctypes.byref(self.waiting)
        )
        """Set `waiting`; return another number than 0 if that failed."""

    def watch(self, path: str, events: int) -> int:
        """Report these events of the file at a path; return the number of the watch."""
        return _checked(self._library.inotify_add_watch(self.descriptor, os.fsencode(path), ctypes.c_uint32(events)))

    def end(self, watch: int) -> None:
        """End a watch, which wakes the thread that waits in `read`; idempotent."""
        with suppress(OSError):
            _checked(self._library.inotify_rm_watch(self.descriptor, watch))

    def read(self) -> Iterator[int]:
        """Take events from the queue, and yield the bits of each."""
        events = os.read(self.descriptor, _LONGEST_READ)
        offset = 0
        while offset < len(events):
            _, bits, _, name_length = _EVENT.unpack_from(events, offset)
            yield bits
            offset += _EVENT.size + name_length

    def close(self) -> None:
        """Close the queue."""
        os.close(self.descriptor)


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno() or errno.EIO
        raise OSError(number, os.strerror(number))
    return result


def _load() -> tuple[Any, Any, int]:
    """Return the C library, its `ioctl`, and the request that counts the bytes to read; `None` on another system."""
    try:
        library = ctypes.CDLL(None, use_errno=True)
        library.inotify_init1, library.inotify_add_watch, library.inotify_rm_watch  # noqa: B018 - raises if missing
        return library, ctypes.PyDLL(None).ioctl, import_module("termios").FIONREAD
    except (AttributeError, ImportError, OSError, TypeError):
        return None, None, 0


_library, _ioctl, _FIONREAD = _load()
