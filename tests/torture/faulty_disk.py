"""A disk that fails: lets chosen system calls of SQLite fail, on chosen files, from the k-th call on, for a while.

SQLite's VFS for Unix lets its system calls be replaced. So an error arises where the system would raise it, and SQLite
deals with it by itself. Only `fsync` is called directly; that one fails in a VFS of its own.
"""

import ctypes
import errno
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import apsw

_BASE = "unix"
_SYNC = "fsync"
_LOCKING_COMMANDS = (6, 7)  # F_SETLK and F_SETLKW
_UNLOCKED = 2  # F_UNLCK

_FD, _SIZE, _PLACE, _BUFFER, _PATH = ctypes.c_int, ctypes.c_size_t, ctypes.c_int64, ctypes.c_void_p, ctypes.c_char_p
_CALLS: dict[str, tuple[Any, ...]] = {
    "open": (ctypes.c_int, _PATH, ctypes.c_int, ctypes.c_int),
    "pread64": (ctypes.c_ssize_t, _FD, _BUFFER, _SIZE, _PLACE),
    "pwrite64": (ctypes.c_ssize_t, _FD, _BUFFER, _SIZE, _PLACE),
    "ftruncate": (ctypes.c_int, _FD, _PLACE),
    "fcntl": (ctypes.c_int, _FD, ctypes.c_int, ctypes.c_void_p),
    "unlink": (ctypes.c_int, _PATH),
    "stat": (ctypes.c_int, _PATH, ctypes.c_void_p),
    "fstat": (ctypes.c_int, _FD, ctypes.c_void_p),
}


class Fault(NamedTuple):
    """What fails: a call, how, and on files whose names end so."""

    call: str
    error: int | None
    """The number of the system's error; `None` for a call that moves only a part of the bytes."""
    suffix: str

    def __str__(self) -> str:
        error = "short" if self.error is None else errno.errorcode[self.error]
        return f"{self.call} of {self.suffix or 'any file'}: {error}"


FAULTS = tuple(
    Fault(call, error, suffix)
    for call, errors, suffixes in (
        ("pread64", (errno.EIO, errno.EINTR, None), (".db", "-wal")),
        ("pwrite64", (errno.EIO, errno.ENOSPC, errno.EINTR, errno.EDQUOT, None), (".db", "-wal", "-journal", "-shm")),
        (_SYNC, (errno.EIO, errno.ENOSPC), (".db", "-wal", "-journal")),
        ("ftruncate", (errno.EIO, errno.EINTR, errno.ENOSPC), (".db", "-wal", "-shm")),
        ("open", (errno.EIO, errno.EMFILE, errno.ENFILE, errno.EACCES, errno.ENOMEM), ("",)),
        ("fcntl", (errno.EIO, errno.ENOLCK, errno.EAGAIN, errno.EINTR), (".db", "-shm")),
        ("unlink", (errno.EIO, errno.EACCES), ("-wal", "-journal", "-shm")),
        ("stat", (errno.EIO, errno.EACCES), ("",)),
        ("fstat", (errno.EIO, errno.EOVERFLOW), (".db", "-wal")),
    )
    for error in errors
    for suffix in suffixes
)


class FaultyDisk:
    """Fails as the fault says: from the k-th call that it fits, for so many calls."""

    def __init__(self, directory: Path, fault: Fault, *, first: int, times: float) -> None:
        self.directory = directory
        self._path = str(directory.resolve())
        self._fault = fault
        self._first = first
        self._last = first + times - 1
        self._gate = threading.Lock()
        self._number = 0
        self._is_mended = False

    def __str__(self) -> str:
        return f"{self._fault}, call {self._first} to {self._last} of {self._number}"

    @property
    def fails_in_python(self) -> bool:
        """Tell whether the error comes from a VFS in Python, and not from the system."""
        return self._fault.call == _SYNC

    @property
    def fails_at_close(self) -> bool:
        """Tell whether the end of a connection raises the error, which SQLite itself ignores there."""
        return self.fails_in_python and self._fault.suffix != "-journal"

    @property
    def has_failed(self) -> bool:
        """Tell whether a call has failed."""
        return self._number >= self._first

    def mend(self) -> None:
        """Let all further calls go well."""
        self._is_mended = True

    @contextmanager
    def mounted(self) -> Iterator[None]:
        """Let SQLite use this disk within the block."""
        if self.fails_in_python:
            vfs = _SyncVfs(self._fails)
            try:
                yield
            finally:
                vfs.unregister()
            return
        calls = apsw.VFS("faulty calls", _BASE)
        name = self._fault.call
        kind = ctypes.CFUNCTYPE(*_CALLS[name], use_errno=True)
        original = kind(calls.xGetSystemCall(name) or 0)
        replaced = kind(lambda *arguments: self._call(original, *arguments))
        calls.xSetSystemCall(name, ctypes.cast(replaced, ctypes.c_void_p).value or 0)
        try:
            yield
        finally:
            calls.xSetSystemCall(name, 0)
            calls.unregister()

    def _call(self, original: Callable[..., int], *arguments: Any) -> int:
        if not self._is_unlocking(arguments) and self._fails(_path_of(arguments[0])):
            if self._fault.error is not None:
                ctypes.set_errno(self._fault.error)
                return -1
            descriptor, buffer, size, place = arguments
            return original(descriptor, buffer, size // 2, place)
        return original(*arguments)

    def _is_unlocking(self, arguments: tuple[Any, ...]) -> bool:
        if self._fault.call != "fcntl":
            return False
        _, command, lock = arguments
        return command not in _LOCKING_COMMANDS or ctypes.c_short.from_address(lock).value == _UNLOCKED

    def _fails(self, path: str) -> bool:
        if not path.endswith(self._fault.suffix) or os.path.dirname(path) != self._path:
            return False
        with self._gate:
            self._number += not self._is_mended
            return self._first <= self._number <= self._last and not self._is_mended


def _path_of(file: int | bytes) -> str:
    if isinstance(file, bytes):
        return os.fsdecode(file)
    try:
        return os.readlink(f"/proc/self/fd/{file}")
    except OSError:
        return ""


class _SyncVfs(apsw.VFS):
    def __init__(self, fails: Callable[[str], bool]) -> None:
        self._fails = fails
        super().__init__("faulty sync", _BASE, makedefault=True)

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        return _SyncFile(self._fails, name, flags)


class _SyncFile(apsw.VFSFile):
    def __init__(self, fails: Callable[[str], bool], name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        self._fails = fails
        self._path = (name.filename() if isinstance(name, apsw.URIFilename) else name) or ""
        super().__init__(_BASE, name, flags)

    def xSync(self, flags: int) -> None:  # noqa: N802 - SQLite's name
        if self._fails(self._path):
            raise apsw.exception_for(apsw.SQLITE_IOERR_FSYNC)
        super().xSync(flags)
