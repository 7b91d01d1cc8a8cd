"""Translates the driver's errors into ours, by SQLSTATE and constraint, and decides which of them are retried."""

import re
from collections.abc import Sequence
from enum import Enum
from typing import Any

import asyncpg

from swarm_persistence.engines.sql.postgres.statements import Values
from swarm_persistence.errors import (
    CollisionError,
    ConflictError,
    DatabaseError,
    OutcomeUnknownError,
    PoolError,
    SerializationError,
    StorageError,
    with_cause,
)
from swarm_persistence.schema.tables import Table

RETRY_ADVICE = "run the transaction again, or use storage.run_transaction, which does"


class RetryDecision(Enum):
    """Whether an operation is retried after an error, and how."""

    FINAL = "final"
    RETRY = "retry"  # the server has rolled the operation back: retry it on the same connection
    NEW_CONNECTION = "new connection"  # nothing was done: retry it on another connection
    UNKNOWN_OUTCOME = "unknown outcome"  # the connection was lost, and with it the answer


_REPEATABLE = {"40001", "40P01"}
"""Serialization failure, deadlock."""
_CROWDED = "53200"
"""Out of memory: mostly of the lock table, which other transactions fill at the moment."""
_UNFIT = {"25006", "57P03", "53300"}
"""Read-only server; one that starts or stops; one with too many connections."""
_LOST = {"57P01", "57P02", "57P05", "25P03", "25P04"}
"""The server has closed the connection: shutdown, crash, or timeout."""
_ABOUT_VALUES = {"22", "23", "P0"}
"""Classes of SQLSTATEs: data exception, integrity constraint violation, what a trigger raises."""
_WITHOUT_PARTITION = {"ExecFindPartition", "ExecPartitionCheckEmitError"}
"""The server's routines that report a row without a partition. The SQLSTATE is that of a check constraint, which a
trigger may raise as well, with any names.
"""
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
    "25006": "the server is read-only; it is a standby, or was set so",
    "42P01": "a table is missing; bring the schema up to date with migrate_to",
    "42703": "a column is missing; bring the schema up to date with migrate_to",
}


DRIVER_ERRORS = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""What the driver raises; the last one if a connection is closed while it is set up."""


def state_of(error: BaseException) -> str:
    """Return the SQLSTATE of an error of the server; of any other error, an empty string."""
    return getattr(error, "sqlstate", None) or ""


def is_lost(error: BaseException) -> bool:
    """Return whether the connection was lost."""
    state = state_of(error)
    return (
        isinstance(error, OSError | EOFError | asyncpg.InternalClientError) or state in _LOST or state.startswith("08")
    )


def is_read_only(error: BaseException) -> bool:
    """Return whether a server has refused a write as read-only."""
    return state_of(error) == "25006"


def is_outdated_plan(error: BaseException) -> bool:
    """Return whether a prepared statement is outdated: a column has changed its type since."""
    return isinstance(error, asyncpg.InvalidCachedStatementError)


class StaleSequenceError(DatabaseError):
    """A sequence is behind its table: its next number is taken. The record itself may be stored or not."""

    table = ""


def stale_sequence(table: str, error: asyncpg.UniqueViolationError) -> StaleSequenceError:
    """Return the error for a sequence that has to be advanced."""
    stale = StaleSequenceError(
        f"the sequence that numbers the {table} is behind its table, as after a logical replication, which carries no "
        "sequences; nothing was stored"
    )
    stale.table = table
    return with_cause(stale, error)


class OvertakenError(DatabaseError):
    """Another transaction has inserted the same record since this one searched for it; a retry finds it."""


def is_without_partition(error: BaseException) -> bool:
    """Return whether a row had no partition: it was attached or detached after the statement began."""
    return isinstance(error, asyncpg.CheckViolationError) and error.server_source_function in _WITHOUT_PARTITION


def retry_decision(error: BaseException, is_closed: bool) -> RetryDecision:
    """Decide whether an operation is retried after an error; `is_closed` tells whether its connection is closed now."""
    state = state_of(error)
    if state in _REPEATABLE or state == _CROWDED or is_outdated_plan(error) or is_without_partition(error):
        return RetryDecision.RETRY
    if isinstance(error, StaleSequenceError | OvertakenError):
        return RetryDecision.RETRY
    if state in _UNFIT:
        return RetryDecision.NEW_CONNECTION
    return RetryDecision.UNKNOWN_OUTCOME if is_closed or is_lost(error) else RetryDecision.FINAL


def translate(error: BaseException, server: str, lock_timeout: float) -> BaseException:
    """Translate an error of the driver; return any other error unchanged."""
    is_the_drivers = isinstance(error, asyncpg.PostgresError | asyncpg.InterfaceError | asyncpg.InternalClientError)
    if isinstance(error, StorageError) or not (is_the_drivers or is_lost(error)):
        return error
    return with_cause(_translated(error, server, lock_timeout), error)


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
    """Return whether one row is to blame, for its value or its id: a retry would fail as well."""
    if isinstance(error, ConflictError | SerializationError):
        return True
    if isinstance(error, StaleSequenceError | OvertakenError):
        return False
    return error.__cause__ is not None and state_of(error.__cause__)[:2] in _ABOUT_VALUES


def waited_for_lock(error: StorageError) -> bool:
    """Return whether the operation timed out waiting for a lock."""
    return error.__cause__ is not None and state_of(error.__cause__) == "55P03"


def unknown_outcome(server: str, error: BaseException, reason: str | None = None) -> OutcomeUnknownError:
    """Return the error for a write whose answer was lost; without a `reason`, it gives the text of the error."""
    text = reason or _text_of(error)
    message = f"{server}: the connection was lost before the answer came ({text}), {_READ_IT_BACK}"
    return with_cause(OutcomeUnknownError(message), error)


def still_unknown_outcome(error: StorageError) -> OutcomeUnknownError:
    """Return the error for a write whose answer was lost, and whose retries failed too."""
    message = f"{error.message}; the answer to an earlier attempt was lost, {_READ_IT_BACK}"
    return with_cause(OutcomeUnknownError(message), error)


def unknown_change() -> OutcomeUnknownError:
    """Return the error for a change whose answer was lost, and whose row has changed since it was read."""
    return OutcomeUnknownError(
        "the connection was lost before the answer came, and the row is not as it was before, " + _READ_IT_BACK
    )


def lost_transaction(server: str, error: BaseException) -> CollisionError:
    """Return the error of a transaction that lost its connection before the commit was sent."""
    return CollisionError(
        f"{server}: the connection was lost ({_text_of(error)}), and the server has rolled the transaction back; "
        f"{RETRY_ADVICE}"
    )


def conflict(label: str, identity: object, error: BaseException | None) -> ConflictError:
    """Return the error for an id that is taken."""
    return with_cause(ConflictError(f"{label} {identity!r} exists already; the stored one is unchanged"), error)


def _text_of(error: BaseException) -> str:
    if isinstance(error, asyncpg.InternalClientError):
        return "it ended as a statement began"  # the driver's text names internal states only
    return str(error) or type(error).__name__


_OF_PARTITION = re.compile(r"_p\d+(?=_)")


def constraint_of(table: Table[Any], error: asyncpg.UniqueViolationError) -> str:
    """Return the name of a violated constraint; that of a partition is mapped to the table's."""
    name = (error.constraint_name or "").removeprefix(table.name)
    return table.name + _OF_PARTITION.sub("", name, count=1)


def index_of(table: Table[Any], field: str) -> str:
    """Return the name of the index in which a field's values are unique."""
    return next(index.name for index in table.indexes if index.is_unique and index.columns == (field,))


def overtaken(table: Table[Any], error: asyncpg.UniqueViolationError) -> OvertakenError:
    """Return the error for a record that another transaction has added at the same time."""
    return with_cause(OvertakenError(f"another transaction has added the same {table.label} at the same time"), error)


def refused(table: Table[Any], error: asyncpg.UniqueViolationError, rows: Sequence[Values]) -> DatabaseError:
    """Return the error for rows whose sequence, key or id is already taken."""
    constraint = constraint_of(table, error)
    if constraint == f"{table.name}_pkey":
        return stale_sequence(table.name, error)
    for index in table.indexes:
        if index.is_unique and index.name == constraint:
            message = f"another {table.label} has this {index.columns[0]}; nothing was written"
            return with_cause(ConflictError(message), error)
    # The server names the id in a sentence in its own language: find which of ours it contains.
    ids = sorted((str(row[0]) for row in rows), key=len, reverse=True)
    detail = error.detail or ""
    identity = next((id for id in ids if f"({id})" in detail), ids[0])
    return conflict(table.label, identity, error)
