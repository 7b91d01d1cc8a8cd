"""Turns the driver's errors into ours, by SQLSTATE, and says what may be done again."""

from enum import Enum

import asyncpg

from swarm_persistence.errors import (
    CollisionError,
    ConflictError,
    DatabaseError,
    OutcomeUnknownError,
    PoolError,
    SerializationError,
    StorageError,
)

RETRY_ADVICE = "run the transaction again, or use storage.run_transaction, which does"


class RetryDecision(Enum):
    """What helps against an error."""

    FINAL = "final"
    RETRY = "retry"  # the server has undone the operation
    NEW_CONNECTION = "new connection"  # nothing was done, but this server is not the one to ask
    UNKNOWN_OUTCOME = "unknown outcome"  # the connection is gone, and with it the answer


_REPEATABLE = {"40001", "40P01"}
"""Serialization failure, deadlock."""
_CROWDED = "53200"
"""No memory: mostly that of locks, of which others hold some thousands at the moment."""
_UNFIT = {"25006", "57P03", "53300"}
"""A standby or a server that was made read-only; one that starts or stops; one with too many connections."""
_LOST = {"57P01", "57P02", "57P05", "25P03", "25P04"}
"""The server has ended the connection: shut down, crashed, or tired of waiting."""
_ABOUT_VALUES = {"22", "23"}
"""The classes of states of a value that cannot be stored, and of one that a constraint refuses."""
_READ_IT_BACK = "so the write may or may not have been stored; read it back before you repeat it"
_CAUSES = {
    "28P01": "the password was refused",
    "28000": "the server refused the user",
    "3D000": "the database does not exist; create it first",
    "42501": "the role lacks a right",
    "53100": "the server's disk is full; nothing of the failed operation is stored",
    "53200": "the server is out of memory",
    "53300": "the server has no connection left",
    "57P03": "the server is starting up or shutting down",
    "25006": "the server takes no writes; it is a standby, or was made read-only",
    "42P01": "a table is missing; bring the schema up to date with migrate_to",
    "42703": "a column is missing; bring the schema up to date with migrate_to",
}


DRIVER_ERRORS = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""What the driver raises; the last one if a connection ends while it begins."""


def state_of(error: BaseException) -> str:
    """Return the SQLSTATE of a server's error; of any other, nothing."""
    return getattr(error, "sqlstate", None) or ""


def is_lost(error: BaseException) -> bool:
    """Tell whether the connection is gone."""
    state = state_of(error)
    return (
        isinstance(error, OSError | EOFError | asyncpg.InternalClientError) or state in _LOST or state.startswith("08")
    )


def is_read_only(error: BaseException) -> bool:
    """Tell whether a server has refused to write: it is a standby, or was made read-only."""
    return state_of(error) == "25006"


def is_outdated_plan(error: BaseException) -> bool:
    """Tell whether a statement was prepared for columns that have another type now."""
    return isinstance(error, asyncpg.InvalidCachedStatementError)


class StaleSequenceError(DatabaseError):
    """A sequence gave out a number that a row of its table has already; the record itself may be stored or not."""

    table = ""


def stale_sequence(table: str, error: asyncpg.UniqueViolationError) -> StaleSequenceError:
    """Return the error that says that the numbers of a table's rows have to catch up."""
    stale = StaleSequenceError(
        f"the sequence that numbers the {table} is behind its table, as after a logical replication, which carries no "
        "sequences; nothing was stored"
    )
    stale.table = table
    stale.__cause__ = error
    return stale


class OvertakenError(DatabaseError):
    """Another transaction has added the same record since this one looked for it; another try finds it there."""


def is_without_partition(error: BaseException) -> bool:
    """Tell whether a row found no partition: the statement had begun before that was attached, or detached."""
    return isinstance(error, asyncpg.CheckViolationError) and not error.constraint_name


def retry_decision(error: BaseException, is_closed: bool) -> RetryDecision:
    """Return what helps against an error after which the connection is closed or not."""
    state = state_of(error)
    if state in _REPEATABLE or state == _CROWDED or is_outdated_plan(error) or is_without_partition(error):
        return RetryDecision.RETRY
    if isinstance(error, StaleSequenceError | OvertakenError):
        return RetryDecision.RETRY
    if state in _UNFIT:
        return RetryDecision.NEW_CONNECTION
    return RetryDecision.UNKNOWN_OUTCOME if is_closed or is_lost(error) else RetryDecision.FINAL


def translate(error: BaseException, server: str, lock_timeout: float) -> BaseException:
    """Return the error that callers know for one of the driver's; any other error as it is."""
    is_the_drivers = isinstance(error, asyncpg.PostgresError | asyncpg.InterfaceError | asyncpg.InternalClientError)
    if isinstance(error, StorageError) or not (is_the_drivers or is_lost(error)):
        return error
    translated = _translated(error, server, lock_timeout)
    translated.__cause__ = error
    return translated


def _translated(error: BaseException, server: str, lock_timeout: float) -> StorageError:
    state = state_of(error)
    if state == "55P03":
        return PoolError(
            f"{server}: another transaction held a row or a table for longer than {lock_timeout:g} s, which is as long "
            "as connection_timeout and transaction_timeout let an operation wait"
        )
    if state in _REPEATABLE or is_without_partition(error):
        return CollisionError(f"{server}: it collided with another transaction ({error}); {RETRY_ADVICE}")
    if is_outdated_plan(error):
        return CollisionError(f"{server}: a table has changed since its statements were prepared; {RETRY_ADVICE}")
    if isinstance(error, asyncpg.DataError):
        return SerializationError(f"{server}: {error}")
    if state == "54000":
        return SerializationError(f"{server}: an id, or another text by which records are found, is too long ({error})")
    if state in _CAUSES:
        return DatabaseError(f"{server}: {_CAUSES[state]} (PostgreSQL: {error})")
    if not state:
        return DatabaseError(f"{server}: the connection failed: {_text_of(error)}")
    return DatabaseError(f"{server}: {error}")


def blames_a_row(error: StorageError) -> bool:
    """Tell whether a value or an id was refused: that says something of one row, and no other try would be answered
    otherwise.
    """
    if isinstance(error, ConflictError | SerializationError):
        return True
    if isinstance(error, StaleSequenceError | OvertakenError):
        return False
    return error.__cause__ is not None and state_of(error.__cause__)[:2] in _ABOUT_VALUES


def waited_for_lock(error: StorageError) -> bool:
    """Tell whether another transaction held what was to be written, for as long as an operation waits."""
    return error.__cause__ is not None and state_of(error.__cause__) == "55P03"


def unknown_outcome(server: str, error: BaseException, reason: str | None = None) -> OutcomeUnknownError:
    """Return the error that says that nobody knows whether an operation was done; the reason is the error's own text
    unless it is given.
    """
    text = reason or _text_of(error)
    unknown = OutcomeUnknownError(f"{server}: the connection was lost before the answer came ({text}), {_READ_IT_BACK}")
    unknown.__cause__ = error
    return unknown


def still_unknown_outcome(error: StorageError) -> OutcomeUnknownError:
    """Return the error that says so once no other try could tell it either."""
    unknown = OutcomeUnknownError(f"{error.message}; the answer to an earlier try was lost, {_READ_IT_BACK}")
    unknown.__cause__ = error
    return unknown


def unknown_change() -> OutcomeUnknownError:
    """Return the error that says so of a change of a row that another try does not find as it was before."""
    return OutcomeUnknownError(
        "the connection was lost before the answer came, and the row is not as it was before, " + _READ_IT_BACK
    )


def lost_transaction(server: str, error: BaseException) -> CollisionError:
    """Return the error of a transaction that has ended with its connection, before its commit was sent."""
    return CollisionError(
        f"{server}: the connection was lost ({_text_of(error)}), and the server has rolled the transaction back; "
        f"{RETRY_ADVICE}"
    )


def conflict(label: str, identity: object, error: BaseException | None) -> ConflictError:
    """Return the error that says that an id is taken."""
    taken = ConflictError(f"{label} {identity!r} exists already; the stored one is unchanged")
    taken.__cause__ = error
    return taken


def _text_of(error: BaseException) -> str:
    if isinstance(error, asyncpg.InternalClientError):
        return "it ended as a statement began"  # which the driver tells in terms of its own states
    return str(error) or type(error).__name__
