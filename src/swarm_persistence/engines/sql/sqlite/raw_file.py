"""Reads the bytes of a database's files through SQLite's own VFS, without a connection.

Python's `open` is unsuitable: closing any descriptor of a database's file drops all locks that this process has on it.
SQLite closes its own only when no connection of the process holds a lock.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import apsw

MAGIC = b"SQLite format 3\0"
"""The first bytes of an SQLite database."""

# https://sqlite.org/fileformat.html#the_database_header
_PAGE_SIZE_AT = 16
_WRITE_VERSION_AT = 18
_FOR_LOG = 2
_CHUNK = 1024 * 1024
_MOST_ATTEMPTS = 100
"""Attempts to open a file that comes and goes; if more fail, there is another cause."""


class RawFile:
    """An open file of a database: the main one, its log or its rollback journal."""

    def __init__(self, path: Path, vfs: str = "") -> None:
        """Open an existing file to read it.

        Raises:
            apsw.CantOpenError: there is no such file, or this user may not read it.

        """
        # A log is opened as a database, too: as a log, it would need the file that it belongs to.
        self._file = apsw.VFSFile(vfs, str(path), [apsw.SQLITE_OPEN_MAIN_DB | apsw.SQLITE_OPEN_READONLY, 0])
        self.size: int = self._file.xFileSize()

    def read(self, offset: int, amount: int) -> bytes:
        """Return these bytes, or those of them that there are."""
        available = min(amount, self.size - offset)
        return self._file.xRead(available, offset) if available > 0 else b""

    def close(self) -> None:
        """Close the file."""
        self._file.xClose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_if_exists(path: Path) -> RawFile | None:
    """Open a file for reading; `None` if it is missing. Other connections may create and delete it at any time.

    Raises:
        apsw.CantOpenError: there is such a file, but it cannot be opened.

    """
    for _ in range(_MOST_ATTEMPTS):
        try:
            return RawFile(path)
        except apsw.CantOpenError:
            if not path.exists():
                return None
            # It may have been created since; a repeated failure has another cause.
    return RawFile(path)


def companions(path: Path) -> tuple[Path, Path, Path]:
    """Return the paths of the log, of its index and of the rollback journal, which lie beside the resolved path."""
    real = path.resolve()
    return tuple(real.with_name(f"{real.name}{suffix}") for suffix in ("-wal", "-shm", "-journal"))  # type: ignore[return-value]


def copy_bytes(source: Path, target: Path) -> None:
    """Copy a file of a database to a new file."""
    with RawFile(source) as file, target.open("xb") as copy:
        for offset in range(0, file.size, _CHUNK):
            copy.write(file.read(offset, _CHUNK))


def size_of(path: Path) -> int:
    """Return the size of a file in bytes; 0 if it is missing, or no file can have such a name."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def page_size_of(path: Path) -> int:
    """Return the page size that the header of a database states, sound or not; 0 if there is no header."""
    with RawFile(path.resolve()) as file:
        number = int.from_bytes(file.read(_PAGE_SIZE_AT, 2))
    return 65536 if number == 1 else number


def is_for_log(path: Path) -> bool:
    """Tell whether the header of a database says that it is used with a log (WAL)."""
    with RawFile(path.resolve()) as file:
        return int.from_bytes(file.read(_WRITE_VERSION_AT, 1)) == _FOR_LOG


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Prevent all connections of all processes from opening the file within the block.

    A file that is missing, or that this user may not write, is not locked.

    Raises:
        apsw.BusyError: a connection has it open.

    """
    flags = [apsw.SQLITE_OPEN_MAIN_DB | apsw.SQLITE_OPEN_READWRITE, 0]
    try:
        file = apsw.VFSFile("", str(path.resolve()), flags)
    except apsw.CantOpenError:
        yield
        return
    if flags[1] & apsw.SQLITE_OPEN_READONLY:  # SQLite's answer where it cannot write: no lock can be acquired
        file.xClose()
        yield
        return
    try:
        for level in (apsw.SQLITE_LOCK_SHARED, apsw.SQLITE_LOCK_EXCLUSIVE):
            file.xLock(level)
        yield
    finally:
        file.xUnlock(apsw.SQLITE_LOCK_NONE)
        file.xClose()
