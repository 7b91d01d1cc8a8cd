"""Translates SQLite's errors into ours, by result code."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

import apsw

from swarm_persistence.errors import (
    ConflictError,
    DatabaseError,
    OutcomeUnknownError,
    PoolError,
    StorageError,
    with_cause,
)

_CAUSES: dict[int, str] = {
    apsw.SQLITE_FULL: "the disk is full; nothing of the failed operation is stored, make room and repeat it",
    apsw.SQLITE_READONLY: "the file or its directory cannot be written; check their permissions",
    apsw.SQLITE_CANTOPEN: "the file cannot be opened; check the path and its permissions",
    apsw.SQLITE_NOTADB: "the file is not an SQLite database; it was left as it is",
    apsw.SQLITE_CORRUPT: "the file is damaged; restore it from a backup, or run `swarm-persistence recover`",
    apsw.SQLITE_IOERR: "the disk failed to read or write; nothing of the failed operation is stored",
    apsw.SQLITE_PERM: "access to the file was denied",
    apsw.SQLITE_NOLFS: "the file system cannot hold so large a file",
}

_WRONG_CHECKSUM = (
    "a page does not match its checksum: the disk has changed it, or another SQLite program has written to the file; "
    "`swarm-persistence doctor` names the pages; restore a backup, or take what can be read out of the file with "
    "`swarm-persistence recover`"
)
_HARMLESS = frozenset(
    {
        apsw.SQLITE_ERROR,
        apsw.SQLITE_ABORT,
        apsw.SQLITE_BUSY,
        apsw.SQLITE_LOCKED,
        apsw.SQLITE_INTERRUPT,
        apsw.SQLITE_FULL,
        apsw.SQLITE_SCHEMA,
        apsw.SQLITE_TOOBIG,
        apsw.SQLITE_CONSTRAINT,
        apsw.SQLITE_MISMATCH,
        apsw.SQLITE_RANGE,
    }
)
"""Failures of a statement or of waiting for the write lock; any other may leave a connection in an unknown state."""

_OPEN_OUTCOMES = frozenset({apsw.SQLITE_IOERR, apsw.SQLITE_NOMEM, apsw.SQLITE_INTERNAL, -1})
_INCOMPLETE = frozenset({apsw.SQLITE_IOERR_LOCK, apsw.SQLITE_IOERR_RDLOCK, apsw.SQLITE_IOERR_WRITE})
"""Failures after which the last frame of a commit, which completes it, cannot have reached the log."""


def has_spoiled_connection(error: BaseException) -> bool:
    """Tell whether a failure requires closing the connection and opening another one."""
    return isinstance(error, apsw.Error) and _code(error) not in _HARMLESS


def is_open_outcome(error: apsw.Error) -> bool:
    """Tell whether a commit that has failed like this may be stored all the same.

    All of it may have reached the log before the disk failed; then the next recovery of the log completes it.
    """
    return _code(error) in _OPEN_OUTCOMES and getattr(error, "extendedresult", None) not in _INCOMPLETE


def unknown_outcome(error: BaseException, path: str) -> OutcomeUnknownError:
    """Return the caller's error for a failed commit that may be stored."""
    message = (
        f"{path!r}: the disk failed while the write was being committed (SQLite: {error}), "
        "and it may or may not be stored; read it back"
    )
    return with_cause(OutcomeUnknownError(message), error)


def _code(error: apsw.Error) -> int:
    return getattr(error, "result", -1)


_READING = frozenset({apsw.SQLITE_IOERR_READ, apsw.SQLITE_IOERR_SHORT_READ, apsw.SQLITE_IOERR_CORRUPTFS})


_DESCRIPTORS_AT_ONCE = 8
"""The descriptors that a connection may need: file, log, index, journal and their directory, and one more."""


@contextmanager
def translated(source: str, target: str, timeout: float) -> Iterator[None]:
    """Translate an error of a copy, naming the file that is to blame."""
    try:
        yield
    except apsw.Error as error:
        is_sources = isinstance(error, apsw.CorruptError | apsw.NotADBError | apsw.BusyError)
        is_sources = is_sources or getattr(error, "extendedresult", None) in _READING
        raise translate(error, source if is_sources else target, timeout) from error


def translate(error: BaseException, path: str, connection_timeout: float) -> BaseException:
    """Translate an error of the driver; return any other error unchanged."""
    if isinstance(error, StorageError) or not isinstance(error, apsw.Error):
        return error
    code = _code(error)
    if getattr(error, "extendedresult", None) == apsw.SQLITE_CONSTRAINT_UNIQUE:
        translated: StorageError = ConflictError(f"another record has the same value already (SQLite: {error})")
    elif code in (apsw.SQLITE_BUSY, apsw.SQLITE_LOCKED):
        translated = PoolError(
            f"another process kept writing to {path!r} for longer than connection_timeout ({connection_timeout:g} s)"
        )
    elif getattr(error, "extendedresult", None) == apsw.SQLITE_IOERR_DATA:
        translated = DatabaseError(f"{path!r}: {_WRONG_CHECKSUM}")
    elif code == apsw.SQLITE_CANTOPEN and (limit := _exhausted_descriptors()):
        translated = DatabaseError(f"{path!r} cannot be opened: {limit} (SQLite: {error})")
    elif code in _CAUSES:
        translated = DatabaseError(f"{path!r}: {_CAUSES[code]} (SQLite: {error})")
    else:
        translated = DatabaseError(f"{path!r}: {error}")
    return with_cause(translated, error)


def _exhausted_descriptors() -> str | None:
    """Return which limit of open files is reached, if any; SQLite reports that like a missing file."""
    taken: list[int] = []
    try:
        # The failed connection has closed the descriptors that it had.
        while len(taken) < _DESCRIPTORS_AT_ONCE:
            taken.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        if error.errno == errno.EMFILE:
            return "this process has too many open files; close some, or raise its limit (ulimit -n)"
        if error.errno == errno.ENFILE:
            return "this system has too many open files; close some, or raise its limit (fs.file-max)"
    finally:
        for descriptor in taken:
            os.close(descriptor)
    return None
