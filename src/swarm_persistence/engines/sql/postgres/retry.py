"""Runs operations on connections of the pool, and retries them where that is safe."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from swarm_persistence.backoff import Backoff
from swarm_persistence.engines.sql.postgres import execution
from swarm_persistence.engines.sql.postgres.connection import Connection
from swarm_persistence.engines.sql.postgres.connector import Connector
from swarm_persistence.engines.sql.postgres.execution import execute
from swarm_persistence.engines.sql.postgres.failures import (
    DRIVER_ERRORS,
    RetryDecision,
    StaleSequenceError,
    blames_a_row,
    is_read_only,
    retry_decision,
    still_unknown_outcome,
)
from swarm_persistence.engines.sql.postgres.maintenance import advance_sequence
from swarm_persistence.engines.sql.postgres.pending import PendingOperation
from swarm_persistence.engines.sql.postgres.pool import ConnectionPool
from swarm_persistence.engines.sql.postgres.row_updates import RowUpdate, RowUpdatePlan
from swarm_persistence.engines.sql.postgres.settings import PostgresSettings
from swarm_persistence.engines.sql.postgres.statement_compiler import PostgresStatementCompiler
from swarm_persistence.engines.sql.statements import InsertStatement, Statement, run_all
from swarm_persistence.errors import ConflictError, OutcomeUnknownError, PoolError, StorageError
from swarm_persistence.schema.codec import Row
from swarm_persistence.schema.tables import Table

T = TypeVar("T")

_FIRST_PAUSE_SECONDS = 0.005
_LONGEST_PAUSE_SECONDS = 0.25
_CHANGED_LATER = frozenset({"read", "acknowledged_at", "result"})
"""The fields of unversioned records that may be changed after the insert."""


class Attempt:
    """One attempt. `is_sent` tells whether a commit was sent: without its answer, the outcome is unknown.

    With `keeps_connection`, the caller releases the connection.
    """

    __slots__ = ("connection", "is_sent", "keeps_connection")

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.is_sent = False
        self.keeps_connection = False


class Retrier:
    """Runs operations on the connections of one event loop."""

    def __init__(
        self,
        pool: ConnectionPool,
        connector: Connector,
        compiler: PostgresStatementCompiler,
        settings: PostgresSettings,
    ) -> None:
        self._pool = pool
        self._connector = connector
        self._compiler = compiler
        self._settings = settings

    async def read(self, operation: PendingOperation, statement: Statement) -> Any:
        """Run a read."""
        return await self.make(operation, lambda attempt: execution.read(attempt.connection, statement))

    async def write(self, operation: PendingOperation, statements: Sequence[Statement]) -> list[Any]:
        """Run all steps, or none.

        Raises:
            OutcomeUnknownError: an answer was lost, and no retry could find out whether the write is stored.

        """
        inserts = [each for each in statements if isinstance(each, InsertStatement)]
        if len(inserts) < len(statements):
            inserts = []

        async def write(attempt: Attempt) -> list[Any]:
            try:
                results = await self._write(attempt, statements)
                if inserts and operation.has_lost_an_answer and results[-1] is None:
                    # Nothing was inserted, perhaps because an earlier attempt has inserted some of the records.
                    attempt.is_sent = False
                    return await self._stored(attempt.connection, inserts) or results
                return results
            except ConflictError:
                attempt.is_sent = False  # the insert was answered, and the rest only reads
                # The conflict may be with rows that an earlier attempt inserted before its answer was lost.
                stored = (
                    await self._stored(attempt.connection, inserts)
                    if operation.has_lost_an_answer and inserts
                    else None
                )
                if stored is None:
                    raise
                return stored
            except Exception as error:
                if inserts:
                    self._retry_if_lost(operation, attempt, error)
                raise

        return await self._with_known_outcome(operation, write)

    async def update_rows(
        self, operation: PendingOperation, plan: RowUpdatePlan, updates: Sequence[RowUpdate]
    ) -> list[list[Any] | None]:
        """Change rows, and return the results of each change's steps; `None` where no row was changed.

        If `operation.has_lost_an_answer`, an earlier attempt may have changed the rows whose result is `None`.

        Raises:
            OutcomeUnknownError: an answer was lost, and no retry could find out whether the write is stored.

        """

        async def update(attempt: Attempt) -> list[list[Any] | None]:
            attempt.is_sent = True
            try:
                return await plan.run(attempt.connection, updates)
            except Exception as error:
                if plan.is_repeatable:
                    self._retry_if_lost(operation, attempt, error)
                raise

        return await self._with_known_outcome(operation, update)

    async def make(self, operation: PendingOperation, work: Callable[[Attempt], Awaitable[T]]) -> T:
        """Run some work on a connection; retry it after a transient failure."""
        deadline = time.monotonic() + self._settings.connection_timeout
        backoff = Backoff(_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS)
        has_expired = False
        answer: BaseException | None = None
        while True:
            connection = await self._take(operation, deadline, answer)
            operation.is_waiting = False
            attempt = Attempt(connection)
            try:
                if operation.has_no_caller:
                    raise asyncio.CancelledError
                return await work(attempt)
            except Exception as error:
                failure = self._transient(attempt, error)
                if isinstance(error, StaleSequenceError):
                    with suppress(*DRIVER_ERRORS):  # the next attempt gets the error, too
                        await advance_sequence(connection, self._settings.schema, error.table)
                answer = (
                    None if retry_decision(error, connection.is_closed) is RetryDecision.UNKNOWN_OUTCOME else failure
                )
                if connection.has_expired and not has_expired:
                    # The statement has timed out, but there is time left to find a server that answers.
                    has_expired = True
                    deadline = time.monotonic() + self._settings.connection_timeout
                elif connection.has_expired or time.monotonic() >= deadline:
                    raise failure from failure.__cause__
            except BaseException:
                if not operation.has_no_caller:
                    connection.terminate()
                raise
            finally:
                if not attempt.keeps_connection:
                    self._pool.release(connection)
            operation.is_waiting = True
            await asyncio.sleep(min(backoff.next(), max(0.0, deadline - time.monotonic())))

    @staticmethod
    def _retry_if_lost(operation: PendingOperation, attempt: Attempt, error: Exception) -> None:
        if attempt.is_sent and retry_decision(error, attempt.connection.is_closed) is RetryDecision.UNKNOWN_OUTCOME:
            operation.has_lost_an_answer = True
            attempt.is_sent = False  # the next attempt finds out whether it is stored

    async def _with_known_outcome(self, operation: PendingOperation, work: Callable[[Attempt], Awaitable[T]]) -> T:
        try:
            return await self.make(operation, work)
        except StorageError as error:
            is_known = blames_a_row(error) or isinstance(error, OutcomeUnknownError)
            if is_known or not operation.has_lost_an_answer:
                raise
            raise still_unknown_outcome(error) from error

    async def _take(self, operation: PendingOperation, deadline: float, answer: BaseException | None) -> Connection:
        """Return a connection for the next attempt; if none comes in time, raise the last attempt's answer, if any."""
        if answer is not None and time.monotonic() >= deadline:
            raise answer from answer.__cause__
        if (idle := self._pool.acquire_idle()) is not None:
            return idle
        try:
            with operation.ended_without_caller():
                return await self._pool.acquire(deadline, self._settings.schema)
        except PoolError:
            if answer is not None:
                raise answer from answer.__cause__
            raise

    def _transient(self, attempt: Attempt, error: Exception) -> BaseException:
        """Return the caller's error for a failure that is retried; raise that of any other."""
        connection = attempt.connection
        remedy = retry_decision(error, connection.is_closed)
        is_final = is_read_only(error) and not self._connector.awaits_primary
        if remedy is RetryDecision.FINAL or is_final:
            failure = connection.failure(error)
            raise failure from failure.__cause__
        if remedy is not RetryDecision.RETRY:
            connection.terminate()
        if remedy is RetryDecision.UNKNOWN_OUTCOME and attempt.is_sent:
            raise connection.lost_answer(error) from error
        return connection.failure(error)

    async def _write(self, attempt: Attempt, statements: Sequence[Statement]) -> list[Any]:
        connection = attempt.connection
        if len(statements) == 1 and statements[0].is_single:
            attempt.is_sent = True
            return await execute(connection, run_all(statements))
        await connection.begin()
        try:
            results = await execute(connection, run_all(statements))
        except BaseException:
            await connection.roll_back()
            raise
        attempt.is_sent = any(results)  # otherwise nothing was written, and a retry is safe
        await connection.commit()
        return results

    async def _stored(self, connection: Connection, inserts: Sequence[InsertStatement]) -> list[Any] | None:
        """Return the results of inserts whose rows are stored as they were sent; `None` if one is not."""
        results: list[Any] = []
        for insert in inserts:
            sequences: list[int] = []
            ids: list[Any] = [row[0] for row in insert.rows]
            text, values = self._compiler.gets[insert.table.name], self._compiler.sql.ids_values(insert.table, ids)
            found = {row[0]: row for row in await connection.run(text, values)}
            for row in insert.rows:
                stored = found.get(row[0])
                if stored is None or not _is_same(insert.table, stored, row):
                    return None
                sequences.append(stored[-1])
            results += insert.step_results(sequences)
        return results


def _is_same(table: Table[Any], stored: Row, row: Row) -> bool:
    """Return whether a stored row equals the sent one, except for fields that may have changed since."""
    if not table.is_versioned:
        names = [name for name in table.names if name not in _CHANGED_LATER]
    elif stored[table.positions["version"]] == row[table.positions["version"]]:
        names = [*table.names]
    else:
        names = ["id", "created_at"]
    return all(stored[table.positions[name]] == row[table.positions[name]] for name in names)
