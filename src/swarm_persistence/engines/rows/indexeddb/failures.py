"""Translates the errors of IndexedDB, by name."""

from swarm_persistence.errors import DatabaseError, MigrationError, PoolError, StorageError, with_cause

_NO_ROOM = "QuotaExceededError"
_NO_ROOM_REASON = (
    "the browser's room for this site is full, and nothing of this write is stored; delete records, ask for more with "
    "request_persistence(), or free space on the disk"
)
_REASONS = {
    _NO_ROOM: _NO_ROOM_REASON,
    "InvalidStateError": "the browser has closed the database; open it anew",
    "NotFoundError": "the database lacks a store that this code needs; was it changed by another program?",
    "AbortError": "the browser has aborted the operation, and nothing of it is stored",
    "ForeignError": "a database of this name exists, and belongs to another program; choose another name",
}


class BrowserError(Exception):
    """The browser's error, which is the cause of the translated one."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(f"{name}: {message}" if message else name)
        self.name = name


def translate(name: str, message: str) -> StorageError:
    """Return the error for a failed operation on an open database."""
    reason = _REASONS.get(name, "the browser's database has failed")
    cause = BrowserError(name, message)
    return with_cause(DatabaseError(f"{reason} ({cause})"), cause)


def is_quota_exceeded(failure: BaseException | None) -> bool:
    """Tell whether the write needs more space than the browser grants, so that a smaller one might succeed."""
    cause = failure.__cause__ if failure is not None else None
    return isinstance(cause, BrowserError) and cause.name == _NO_ROOM


def opening_failure(name: str, message: str, database: str, seconds: float) -> StorageError:
    """Return the error for a failure to open a database."""
    if name == "VersionError":
        return MigrationError(f"the database {database!r} is newer than this code; load the page again to get its code")
    if name == "TimeoutError":
        return PoolError(
            f"another tab kept an older version of the database {database!r} open for longer than connection_timeout "
            f"({seconds:g} s); close it, and try again"
        )
    error = translate(name, message)
    return DatabaseError(f"{database!r} cannot be opened: {error.message}")
