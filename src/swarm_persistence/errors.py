"""The errors that a storage raises.

StorageError                  everything below; catch this one to catch them all
├── DatabaseError             the database refused or failed
│   ├── ConflictError         the id is taken, or the record has changed since it was read
│   └── OutcomeUnknownError   the server went away, or the disk failed, at the commit: the write may be stored
├── SerializationError        a value that cannot be stored, or a row that cannot be read back
│   └── UnreadableError       a row that cannot be read back
├── NotFoundError             no record has this id
├── TransactionError          the transaction is over, doomed or timed out
│   └── CollisionError        it collided with another one and was undone; run it again
├── MigrationError            the schema is unknown, newer than this code, or could not be changed
├── PoolError                 a connection or the write lock was not acquired within connection_timeout
└── OtherError                anything else
    ├── ClosedError           the storage is closed, or belongs to the process that forked this one
    ├── InvalidQueryError     an unknown field, status or operator in a query, or a bound that is not a number
    ├── DependencyCycleError  tasks would wait for each other forever
    ├── LeaseLostError        the claim that the call relies on is over
    └── WaitTimeoutError      a task was not finished in time; it is a `TimeoutError` as well
"""

from typing import ClassVar, TypeVar

_LONGEST_SHOWN = 100


class StorageError(Exception):
    """The root of all errors of this package; the message begins with the kind of error."""

    prefix: ClassVar[str] = "Storage error"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def __str__(self) -> str:
        return f"{self.prefix}: {self.message}"


class DatabaseError(StorageError):
    """The database refused an operation or failed; uncommitted writes are not stored."""

    prefix = "Database error"


class ConflictError(DatabaseError):
    """The id is taken already, or the stored record has changed since the caller read it."""

    prefix = "Conflict"


class OutcomeUnknownError(DatabaseError):
    """A write may or may not be stored; read it back.

    The connection was lost before the answer came, the disk failed while it was committed, or the file or its log was
    removed or replaced under the storage.
    """

    prefix = "Outcome unknown"


class SerializationError(StorageError):
    """A value cannot be stored exactly, or a stored row cannot be read back; the message names it."""

    prefix = "Serialization error"


class UnreadableError(SerializationError):
    """A stored row cannot be read back; `id` is its id, or `None` if that is unreadable, too."""

    prefix = "Unreadable record"

    def __init__(self, message: str, id: object = None, sequence: int | None = None) -> None:
        super().__init__(message)
        self.id = None if id is None else str(id)
        self.sequence = sequence


class NotFoundError(StorageError):
    """No record has this id."""

    prefix = "Not found"


class TransactionError(StorageError):
    """The transaction is over, doomed by an earlier error, or was open for too long."""

    prefix = "Transaction error"


class CollisionError(TransactionError):
    """The transaction collided with another one, or lost its connection before the commit was sent, and is undone.

    Run it again, as `run_transaction` does.
    """

    prefix = "Transaction collision"


class MigrationError(StorageError):
    """The schema could not be migrated to the requested version."""

    prefix = "Migration error"


class PoolError(StorageError):
    """A connection or the write lock was not acquired within `connection_timeout`."""

    prefix = "Connection pool error"


class OtherError(StorageError):
    """Any other error of this package."""

    prefix = "Other error"


class ClosedError(OtherError):
    """The storage is closed, or was opened by the process that this one was forked from."""

    prefix = "Storage closed"


class InvalidQueryError(OtherError):
    """A query or an argument is invalid; the message names what was expected."""

    prefix = "Invalid argument"


class DependencyCycleError(OtherError):
    """Tasks would wait for each other forever, or one for itself; nothing was written."""

    prefix = "Dependency cycle"


class LeaseLostError(OtherError):
    """The task is no longer held by this claim; nothing was written."""

    prefix = "Lease lost"


class WaitTimeoutError(OtherError, TimeoutError):
    """A task that the call waited for was not finished within its `timeout`."""

    prefix = "Timeout"


E = TypeVar("E", bound=StorageError)


def copy_error(error: BaseException) -> BaseException:
    """Return an equal error: callers that share one instance would append to each other's traceback."""
    if not isinstance(error, StorageError):
        return error
    copy = type(error)(error.message)
    copy.__dict__.update(error.__dict__)
    copy.__cause__ = error.__cause__
    return copy


def with_cause(error: E, cause: BaseException | None) -> E:
    """Return an error with the cause that `raise … from` would set, to be raised elsewhere."""
    error.__cause__ = cause
    return error


def shown(value: object) -> str:
    """Return a value as messages show it: its repr, truncated, or its type if repr fails."""
    name = type(value).__name__
    # Its repr would need more stack than the caller may have left; in a browser, the interpreter does not outlive that.
    if is_nested_deeper(value, _LONGEST_SHOWN):
        return f"a {name} that is nested too deep to be shown"
    try:
        text = repr(value)
    except ValueError:
        # Python writes no number of thousands of digits.
        return f"a value of type {name} that is too long to be shown"
    except Exception as error:
        return f"a value of type {name} whose repr raises {type(error).__name__}"
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"


def is_nested_deeper(value: object, levels: int) -> bool:
    """Tell whether lists, dicts and tuples are nested deeper than this; does not recurse."""
    level = [value]
    for _ in range(levels + 1):
        # By identity: a container that contains itself would add an entry with every level.
        inner = {id(item): item for item in level if isinstance(item, list | dict | tuple)}
        if not inner:
            return False
        level = [part for item in inner.values() for part in (item.values() if isinstance(item, dict) else item)]
    return True
