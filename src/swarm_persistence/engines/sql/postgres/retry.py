"""Tries an operation on a connection, and again on another one where that can do no harm."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from swarm_persistence.backoff import Backoff
from swarm_persistence.engines.sql.postgres.acts import Act, InsertAct, Steps
from swarm_persistence.engines.sql.postgres.connection import Connection
from swarm_persistence.engines.sql.postgres.connector import Connector
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
from swarm_persistence.engines.sql.postgres.plans import Plans
from swarm_persistence.engines.sql.postgres.pool import ConnectionPool
from swarm_persistence.engines.sql.postgres.row_updates import RowUpdate, RowUpdatePlan
from swarm_persistence.engines.sql.postgres.settings import PostgresSettings
from swarm_persistence.errors import ConflictError, OutcomeUnknownError, PoolError, StorageError
from swarm_persistence.schema.codec import Row
from swarm_persistence.schema.tables import Table

T = TypeVar("T")

_FIRST_PAUSE_SECONDS = 0.005
_LONGEST_PAUSE_SECONDS = 0.25
_CHANGED_LATER = frozenset({"read", "acknowledged_at", "result"})
"""The fields of records without a version that others may have changed since."""


class Attempt:
    """One try. `is_sent` tells whether something was sent that commits: then its answer matters.

    With `keeps_connection`, whoever has the result gives the connection back.
    """

    __slots__ = ("connection", "is_sent", "keeps_connection")

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.is_sent = False
        self.keeps_connection = False


class Retrier:
    """Tries operations on the connections of one loop."""

    def __init__(self, pool: ConnectionPool, connector: Connector, plans: Plans, settings: PostgresSettings) -> None:
        self._pool = pool
        self._connector = connector
        self._plans = plans
        self._settings = settings

    async def read(self, operation: PendingOperation, act: Act) -> Any:
        """Do something that changes nothing."""
        return await self.make(operation, lambda attempt: act.run(attempt.connection))

    async def write(self, operation: PendingOperation, steps: Steps) -> list[Any]:
        """Do all steps, or none.

        Raises:
            OutcomeUnknownError: an answer was lost, and no other try could tell what had become of the write.

        """
        inserts = steps.inserts

        async def write(attempt: Attempt) -> list[Any]:
            try:
                results = await self._write(attempt, steps)
                if inserts and operation.has_lost_an_answer and results[-1] is None:
                    # Nothing was added, perhaps as others have built on what an earlier try has added.
                    attempt.is_sent = False
                    return await self._stored(attempt.connection, inserts) or results
                return results
            except ConflictError:
                attempt.is_sent = False  # it was answered, and what follows only looks
                # Perhaps with what an earlier try has added, whose answer was lost.
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
                    self._try_again_if_lost(operation, attempt, error)
                raise

        return await self._make_known(operation, write)

    async def update_rows(
        self, operation: PendingOperation, plan: RowUpdatePlan, updates: Sequence[RowUpdate]
    ) -> list[list[Any] | None]:
        """Change rows, and return the results of each change's steps; `None` where no row was changed.

        After a lost answer, `run` tells so, and it may be an earlier try that has changed a row that is not now.

        Raises:
            OutcomeUnknownError: an answer was lost, and no other try could tell what had become of the write.

        """

        async def update(attempt: Attempt) -> list[list[Any] | None]:
            attempt.is_sent = True
            try:
                return await plan.run(attempt.connection, updates)
            except Exception as error:
                if plan.is_repeatable:
                    self._try_again_if_lost(operation, attempt, error)
                raise

        return await self._make_known(operation, update)

    async def make(self, operation: PendingOperation, work: Callable[[Attempt], Awaitable[T]]) -> T:
        """Do some work on a connection; after a passing failure, again."""
        deadline = time.monotonic() + self._settings.connection_timeout
        backoff = Backoff(_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS)
        has_expired = False
        answer: BaseException | None = None
        while True:
            connection = await self._take(deadline, answer)
            operation.is_waiting = False
            attempt = Attempt(connection)
            try:
                if operation.is_unwanted:
                    raise asyncio.CancelledError
                return await work(attempt)
            except Exception as error:
                failure = self._passing(attempt, error)
                if isinstance(error, StaleSequenceError):
                    with suppress(*DRIVER_ERRORS):  # which another try meets, too
                        await advance_sequence(connection, self._settings.schema, error.table)
                answer = (
                    None if retry_decision(error, connection.is_closed) is RetryDecision.UNKNOWN_OUTCOME else failure
                )
                if connection.has_expired and not has_expired:
                    # A statement's time is over, but not yet the time to find a server that answers.
                    has_expired = True
                    deadline = time.monotonic() + self._settings.connection_timeout
                elif connection.has_expired or time.monotonic() >= deadline:
                    raise failure from failure.__cause__
            except BaseException:
                if not operation.is_unwanted:
                    connection.terminate()
                raise
            finally:
                if not attempt.keeps_connection:
                    self._pool.release(connection)
            operation.is_waiting = True
            await asyncio.sleep(min(backoff.next(), max(0.0, deadline - time.monotonic())))

    @staticmethod
    def _try_again_if_lost(operation: PendingOperation, attempt: Attempt, error: Exception) -> None:
        if attempt.is_sent and retry_decision(error, attempt.connection.is_closed) is RetryDecision.UNKNOWN_OUTCOME:
            operation.has_lost_an_answer = True
            attempt.is_sent = False  # another try shows what has become of it

    async def _make_known(self, operation: PendingOperation, work: Callable[[Attempt], Awaitable[T]]) -> T:
        try:
            return await self.make(operation, work)
        except StorageError as error:
            is_known = blames_a_row(error) or isinstance(error, OutcomeUnknownError)
            if is_known or not operation.has_lost_an_answer:
                raise
            raise still_unknown_outcome(error) from error

    async def _take(self, deadline: float, answer: BaseException | None) -> Connection:
        """Return a connection for another try; if none comes in time, raise the answer to the last one, if any."""
        if answer is not None and time.monotonic() >= deadline:
            raise answer from answer.__cause__
        try:
            return await self._pool.acquire(deadline, self._settings.schema)
        except PoolError:
            if answer is not None:
                raise answer from answer.__cause__
            raise

    def _passing(self, attempt: Attempt, error: Exception) -> BaseException:
        """Return the caller's error for a failure after which the work may be done again; raise that of any other."""
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

    async def _write(self, attempt: Attempt, steps: Steps) -> list[Any]:
        connection = attempt.connection
        if steps.is_single:
            attempt.is_sent = True
            return await steps.run(connection)
        await connection.begin()
        try:
            results = await steps.run(connection)
        except BaseException:
            await connection.roll_back()
            raise
        attempt.is_sent = True
        await connection.commit()
        return results

    async def _stored(self, connection: Connection, inserts: list[InsertAct]) -> list[Any] | None:
        """Return the results of inserts of rows that are stored as they were to be added; `None` if one is not."""
        results: list[Any] = []
        for act in inserts:
            sequences: list[int] = []
            ids: list[Any] = [row[0] for row in act.rows]
            found = {row[0]: row for row in await connection.run(self._plans.gets[act.table.model], (ids,))}
            for row in act.rows:
                stored = found.get(row[0])
                if stored is None or not _is_same(act.table, stored, row):  # type: ignore[arg-type]
                    return None
                sequences.append(stored[-1])
            results += act.results(sequences)
        return results


def _is_same(table: Table[Any], stored: Row, row: Row) -> bool:
    """Tell whether a stored row is the one that was added, whatever others have changed in it since."""
    if not table.is_versioned:
        names = [name for name in table.names if name not in _CHANGED_LATER]
    elif stored[table.positions["version"]] == row[table.positions["version"]]:
        names = [*table.names]
    else:
        names = ["id", "created_at"]
    return all(stored[table.positions[name]] == row[table.positions[name]] for name in names)
