"""The errors that a storage raises.

StorageError                  everything below; catch this one to catch them all
├── DatabaseError             the database refused or failed
│   ├── ConflictError         the id is taken, or the record has changed since it was read
│   └── OutcomeUnknownError   the server went away before it answered: the write may or may not be stored
├── SerializationError        a value that cannot be stored, or a row that cannot be read back
│   └── UnreadableError       a row that cannot be read back
├── NotFoundError             no record has this id
├── TransactionError          the transaction is over, doomed or timed out
│   └── CollisionError        it collided with another one and was undone; run it again
├── MigrationError            the schema is unknown, newer than this code, or could not be changed
├── PoolError                 no connection, or no turn to write, within connection_timeout
└── OtherError                anything else
    ├── ClosedError           the storage is closed, or belongs to the process that forked this one
    ├── InvalidQueryError     an unknown field, status or operator in a query, or a bound that is no number
    ├── DependencyCycleError  tasks would wait for each other for ever
    └── LeaseLostError        the claim that the call relies on is over
"""

from typing import ClassVar


class StorageError(Exception):
    """The root of all errors of this package; the text begins with the kind of error."""

    prefix: ClassVar[str] = "Storage error"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def __str__(self) -> str:
        return f"{self.prefix}: {self.message}"


class DatabaseError(StorageError):
    """The database refused an operation or failed; what it had not committed is not stored."""

    prefix = "Database error"


class ConflictError(DatabaseError):
    """The id is taken already, or the stored record is not the one that the caller has read."""


class OutcomeUnknownError(DatabaseError):
    """The connection was lost before the answer to a write came: it may or may not be stored; read it back."""


class SerializationError(StorageError):
    """A value cannot be stored as it is, or a stored row cannot be read back; the text names which."""

    prefix = "Serialization error"


class UnreadableError(SerializationError):
    """A stored row cannot be read back; `id` is that of its record."""

    def __init__(self, message: str, id: object = None) -> None:
        super().__init__(message)
        self.id = str(id)


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


class MigrationError(StorageError):
    """The schema could not be brought to the version asked for; nothing has changed."""

    prefix = "Migration error"


class PoolError(StorageError):
    """No connection, or no turn to write, came free within `connection_timeout`."""

    prefix = "Connection pool error"


class OtherError(StorageError):
    """An error of no other kind."""

    prefix = "Other error"


class ClosedError(OtherError):
    """The storage is closed, or was opened by the process that this one was forked from."""


class InvalidQueryError(OtherError):
    """A query or an argument names something that does not exist; the text lists what does."""


class DependencyCycleError(OtherError):
    """Tasks would wait for each other for ever, or one for itself; nothing was written."""


class LeaseLostError(OtherError):
    """The task is no longer held by this claim; nothing was written."""
