"""Verifies that the files at the paths are those that were opened.

SQLite holds descriptors: after a file was deleted, moved or replaced, it goes on writing to a file that no path leads
to, and reports success. No link is followed: the paths are resolved, and a later opening would look for the log beside
the link's target.
"""

import ctypes
import os
import time
from collections.abc import Callable
from contextlib import suppress
from struct import Struct
from typing import Any, NamedTuple

import apsw

from swarm_persistence.errors import DatabaseError

_LONGEST_TRUST_OF_READS_SECONDS = 0.005
"""How long reads rely on the last verification: another one would add a third to the time of a point read."""

_REMEDY = "stop the programs that use it, put the file and its log back in place, and open the storage again"
_PARTS = {"": "the file", "-wal": "its log", "-shm": "the index of its log"}

# The layout of struct statx: https://man7.org/linux/man-pages/man2/statx.2.html
_AT_FDCWD = -100
_AT_SYMLINK_NOFOLLOW = 0x100
_STATX_INO_AND_SIZE = 0x100 | 0x200
_BUFFER_BYTES = 256
_INODE_SIZE_DEVICE = Struct("=32xQQ88xQ")

PathStatus = tuple[int, int, int]
"""Inode, size and device of the file at a path. Devices are equal for paths on one file system, but are not the
operating system's device numbers."""


class _KnownPath(NamedTuple):
    """A path, and the file that was opened there."""

    path: str
    status: Callable[[], PathStatus]
    inode: int
    device: int


class FileIdentity:
    """The inodes of the opened files, compared with those at their paths; while they differ, every call is refused."""

    def __init__(self, path: str, *, is_virtual: bool) -> None:
        """Take the path as the caller gave it; a virtual file system may keep files without paths."""
        self._path = path
        self._is_virtual = is_virtual
        self._known: list[_KnownPath] = []
        self._known_without_index: list[_KnownPath] = []
        self._parts: dict[str, str] = {}
        self._verified_at = 0.0
        self.is_wrong = False
        """Whether the last verification has found a difference."""
        self._damage = ""

    def record(self, connection: apsw.Connection) -> int | None:
        """Record the files that the writer's first connection has opened; return the file's size, if it has a path."""
        name = connection.filename
        self._parts = {self._path: "the file"}
        if not connection.readonly("main"):
            self._parts.update({f"{name}{suffix}": part for suffix, part in _PARTS.items()})
        for path in self._parts:
            status = path_status(path)
            try:
                inode, _, device = status()
            except FileNotFoundError:
                if self._is_virtual:
                    continue
                raise self._difference(path) from None
            self._known.append(_KnownPath(path, status, inode, device))
        # What another process commits by an index of its own shows in the log.
        self._known_without_index = [known for known in self._known if known.path != f"{name}-shm"]
        return self.verify_paths()

    @property
    def paths(self) -> list[str]:
        """Return the paths of the recorded files, that of the database first."""
        return [known.path for known in self._known]

    def verify_paths(self, *, trusts_index: bool = True) -> int | None:
        """Verify the files at the paths, in any thread; return the file's size, if it has a path.

        With `trusts_index`, the index of the log is not verified if it was just now.

        Raises:
            DatabaseError: they differ, or did before; the message says what to do.

        """
        if self._damage:
            raise DatabaseError(self._damage)
        size: int | None = None
        path = self._path
        now = time.monotonic()
        is_recent = now - self._verified_at < _LONGEST_TRUST_OF_READS_SECONDS
        is_trusted = trusts_index and is_recent and not self.is_wrong
        try:
            for path, status, inode, device in self._known_without_index if is_trusted else self._known:
                found_inode, found_size, found_device = status()
                if found_inode != inode or found_device != device:
                    raise self._difference(path)
                if size is None:
                    size = found_size
        except OSError:
            raise self._difference(path) from None
        if not is_trusted:
            self.is_wrong = False
            self._verified_at = now
        return size

    def verify_now_and_then(self) -> None:
        """Verify the paths unless they were verified just now; raises as `verify_paths` does."""
        if self.is_wrong or time.monotonic() - self._verified_at > _LONGEST_TRUST_OF_READS_SECONDS:
            self.verify_paths()

    def damaged(self, finding: str) -> DatabaseError:
        """Return the error for damage in the file or its log; every later call is refused with it."""
        self.is_wrong = True
        # Truncated data cannot be recovered, so this is final.
        self._damage = f"{self._path!r}: {finding}, while the storage had it open; {_REMEDY}, or restore a backup"
        return DatabaseError(self._damage)

    def close(self, connection: apsw.Connection) -> None:
        """Close a connection. While files differ, SQLite must neither checkpoint the log nor delete a file."""
        if self.is_wrong and not self._is_only_log_gone():
            connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        connection.close()

    def _is_only_log_gone(self) -> bool:
        """Tell whether only the log's path is missing: then SQLite may still checkpoint its open log."""
        if self._damage:
            return False
        differing = [each for each in self._known if _identity(each.status) != (each.inode, each.device)]
        return all(each.path.endswith("-wal") and _identity(each.status) is None for each in differing)

    def _difference(self, path: str) -> DatabaseError:
        self.is_wrong = True
        directory, part = os.path.dirname(path), self._parts[path]
        if not os.path.isdir(directory):
            event = f"its directory {directory!r} was renamed, moved or deleted"
        elif not os.path.lexists(path):
            event = f"{part} was deleted or moved away"
        elif os.path.islink(path):
            event = f"a symbolic link was put in the place of {part}"
        else:
            event = f"{part} was replaced by another file"
        return DatabaseError(f"{self._path!r}: {event}, while the storage had it open; {_REMEDY}")


def _identity(status: Callable[[], PathStatus]) -> tuple[int, int] | None:
    with suppress(OSError):
        inode, _, device = status()
        return inode, device
    return None


def path_status(path: str) -> Callable[[], PathStatus]:
    """Return a function that reads the status of a path at each call; it raises `OSError` as `os.lstat` does.

    A symbolic link is not followed.
    """
    if _statx is None:
        return lambda: _by_lstat(path)
    statx, encoded, buffer = _statx, os.fsencode(path), bytearray(_BUFFER_BYTES)
    # Converted once: to convert them at each call takes as long as the call itself. One buffer does for all threads, as
    # the call holds the interpreter lock: at most, a thread reads what another one has just found at the same path.
    arguments = (
        ctypes.c_int(_AT_FDCWD),
        ctypes.c_char_p(encoded),
        ctypes.c_int(_AT_SYMLINK_NOFOLLOW),
        ctypes.c_uint(_STATX_INO_AND_SIZE),
        (ctypes.c_char * _BUFFER_BYTES).from_buffer(buffer),
    )
    unpack = _INODE_SIZE_DEVICE.unpack_from

    def by_statx() -> PathStatus:
        if statx(*arguments):
            return _by_lstat(path)  # let it raise; or an old kernel, or a sandbox, lacks the call
        return unpack(buffer)

    return by_statx


def _by_lstat(path: str) -> PathStatus:
    found = os.lstat(path)
    return found.st_ino, found.st_size, found.st_dev


def _find_statx() -> Any:
    """Return the system's function that reads inode, size and device of a path without its times, if any.

    Since Linux 6.13, a file whose times were read gets new ones with its next write, which fdatasync then writes to the
    journal: one `lstat` per commit made a caller's single commits take half as long again.
    """
    try:
        return ctypes.PyDLL(None).statx
    except (AttributeError, OSError, TypeError):
        return None  # another system, or a C library that lacks it


_statx = _find_statx()
