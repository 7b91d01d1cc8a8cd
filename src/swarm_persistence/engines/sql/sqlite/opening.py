"""Prepares a database file for opening: creates it, rolls an interrupted write back, or refuses it."""

import os
import stat
import sys
import time

import apsw

from swarm_persistence.engines.sql.sqlite.access import Access, connected, is_writable, reading_access
from swarm_persistence.engines.sql.sqlite.file import FileState, inspect
from swarm_persistence.engines.sql.sqlite.migrations import REQUIRED
from swarm_persistence.engines.sql.sqlite.schema_version import explain_old, status
from swarm_persistence.errors import DatabaseError, MigrationError

_MODE_OF_NEW_FILE = 0o600


def prepare(
    path: str, timeout: float, vfs: str | None = None, *, must_exist: bool = False, is_migrating: bool = True
) -> Access:
    """Ensure that a file of ours exists, and return how to open it; any other file is left as it is.

    A new file is readable by its owner only. An interrupted write is rolled back. A file that must exist but cannot
    be written is opened for reading.

    Raises:
        DatabaseError: the path is a directory, its parent is missing, or the file is another program's or cannot be
            read or written; or there is only a log; or the file must exist, and holds nothing.
        MigrationError: the file is too new for this code, or another program has taken it for its own; or it is too
            old, and cannot be written; or it holds nothing, and is not to be migrated.
        apsw.BusyError: another process kept the file locked for longer than the timeout, in seconds.

    """
    deadline = time.monotonic() + timeout
    inspection = inspect(path, timeout, vfs)
    while inspection.state is FileState.INTERRUPTED and is_writable(path):
        if time.monotonic() >= deadline:
            raise apsw.BusyError("other processes kept leaving interrupted writes")
        _roll_back(path, timeout, vfs)
        inspection = inspect(path, timeout, vfs)
    if inspection.refusal is not None:
        raise inspection.refusal
    if must_exist:
        if inspection.state is not FileState.OURS:
            reason = "holds nothing yet" if inspection.state is FileState.NEW else f"is {inspection.state}"
            raise DatabaseError(f"there is no swarm at {path!r}: the file {reason}")
        if not is_writable(path):
            return _access_for_reading(path, timeout)
    if not is_migrating and inspection.state is not FileState.OURS:
        raise explain_old(path, 0)
    if inspection.state is FileState.MISSING:
        _create(path)
    elif not os.access(path, os.W_OK):
        raise DatabaseError(f"{path!r} cannot be written; check its permissions, and whether its file system can be")
    return Access.WRITE


def _access_for_reading(path: str, timeout: float) -> Access:
    """Return how to read a file that cannot be brought up to date."""
    access = reading_access(path)
    with connected(path, access, timeout) as connection:
        version = status(connection).version
    if version < REQUIRED:
        raise MigrationError(
            f"{path!r} has schema version {version}, this code reads {REQUIRED} and newer, and the file cannot be "
            "written; copy it to where it can, with its log, and open it there"
        )
    return access


def _roll_back(path: str, timeout: float, vfs: str | None) -> None:
    """Let SQLite roll an interrupted write back, as any program that opens the file would.

    This also happens to another program's file, as only the journal decides whose it is. Files that can be recognized
    without the journal have been refused before.
    """
    with connected(path, Access.WRITE, timeout, vfs) as connection:
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()


def _create(path: str) -> None:
    """Create an empty file, unless another thread or process has just done so."""
    folder = os.path.dirname(path)
    if not os.path.isdir(folder):
        raise DatabaseError(f"{path!r} cannot be created: the directory {folder!r} does not exist")
    try:
        _make_empty(path)
    except FileExistsError:
        pass
    except OSError as error:
        raise DatabaseError(f"{path!r} cannot be created: {error.strerror}") from error


def _make_empty(path: str) -> None:
    if sys.platform == "linux":
        try:
            # Without a descriptor: closing it would drop the locks of a thread that has opened the file meanwhile.
            os.mknod(path, stat.S_IFREG | _MODE_OF_NEW_FILE)
            return
        except PermissionError:
            pass  # a sandbox may forbid mknod; if the directory is not writable, the next call reports it
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, _MODE_OF_NEW_FILE))
