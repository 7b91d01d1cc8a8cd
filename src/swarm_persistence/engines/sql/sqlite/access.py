"""Opens a database's file: for writing, or, where that is impossible, for reading; and begins writes to it."""

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from enum import Enum
from pathlib import Path

import apsw

_WITHOUT_LOCKS = "win32-none" if os.name == "nt" else "unix-none"


class Access(Enum):
    """How to open a file that exists; each value is the query of its URI."""

    WRITE = "mode=rw"
    READ = "mode=ro"
    """As one reader among other connections; creates the log's index, `-shm`, if there is none."""
    READ_FILE_ALONE = "immutable=1"
    """Without its log or journal, and without locks."""
    READ_LOG_IN_MEMORY = f"mode=ro&vfs={_WITHOUT_LOCKS}"
    """With a log that no process has open, whose index is made in memory, and without locks: where nothing can be
    written. Closing such a connection costs this process its locks on the file, if it has any."""


def connect(path: str, access: Access, *, vfs: str | None = None, statements_kept: int = 100) -> apsw.Connection:
    """Open a file in this mode; raises what SQLite raises."""
    writes = access is Access.WRITE
    flags = apsw.SQLITE_OPEN_URI | (apsw.SQLITE_OPEN_READWRITE if writes else apsw.SQLITE_OPEN_READONLY)
    uri = f"{Path(path).as_uri()}?{access.value}"
    connection = apsw.Connection(uri, flags=flags, vfs=vfs, statementcachesize=statements_kept)
    if access is Access.READ_LOG_IN_MEMORY:
        connection.pragma("locking_mode", "exclusive")  # tells SQLite that it need not share the index of the log
    return connection


@contextmanager
def connected(path: str, access: Access, timeout: float, vfs: str | None = None) -> Iterator[apsw.Connection]:
    """Open a file within the block, on which each statement waits for locks up to the timeout, in seconds."""
    with closing(connect(path, access, vfs=vfs)) as connection:
        # SQLite takes 31 bits, at most 24 days.
        connection.set_busy_timeout(int(min(timeout * 1000, 2**31 - 1)))
        yield connection


@contextmanager
def writing(connection: apsw.Connection) -> Iterator[None]:
    """Hold the write lock within the block, in one transaction: commit at its end, or roll back after an error."""
    connection.execute("BEGIN IMMEDIATE").fetchall()
    try:
        yield
        connection.execute("COMMIT").fetchall()
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK").fetchall()
        raise


def reading_access(path: str) -> Access:
    """Return how to read a file where nothing can be written, as on a read-only file system."""
    has_index = os.path.exists(f"{path}-shm")
    try:
        log_bytes = os.stat(f"{path}-wal").st_size
    except FileNotFoundError:
        return Access.READ_FILE_ALONE
    if has_index:
        return Access.READ
    return Access.READ_LOG_IN_MEMORY if log_bytes else Access.READ_FILE_ALONE


def is_writable(path: str) -> bool:
    """Tell whether this process may write to the file, and make the log beside it."""
    return os.access(path, os.W_OK) and os.access(os.path.dirname(path), os.W_OK)
