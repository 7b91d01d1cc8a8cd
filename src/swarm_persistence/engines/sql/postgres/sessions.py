"""A caller's transaction, which holds the write lock of this process until it ends; and a snapshot for reads."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from contextvars import Context
from typing import Any, TypeVar

from swarm_persistence.engines.reads import LastSequence, Read
from swarm_persistence.engines.sql.postgres import execution
from swarm_persistence.engines.sql.postgres.connection import Connection
from swarm_persistence.engines.sql.postgres.execution import execute
from swarm_persistence.engines.sql.postgres.failures import (
    DRIVER_ERRORS,
    RETRY_ADVICE,
    OvertakenError,
    RetryDecision,
    StaleSequenceError,
    retry_decision,
)
from swarm_persistence.engines.sql.postgres.maintenance import advance_sequence
from swarm_persistence.engines.sql.postgres.pending import PendingOperation, PendingOperations
from swarm_persistence.engines.sql.postgres.sequences import numbers_of
from swarm_persistence.engines.sql.postgres.settings import PostgresSettings
from swarm_persistence.engines.sql.postgres.statement_compiler import PostgresStatementCompiler
from swarm_persistence.engines.sql.statements import Statement, run_all, tables_changed
from swarm_persistence.engines.steps import Step
from swarm_persistence.engines.transaction_errors import is_over, was_open_too_long
from swarm_persistence.errors import ClosedError, CollisionError, DatabaseError, TransactionError, copy_error

T = TypeVar("T")

_GRACE_SECONDS = 1.0
"""How long a rollback waits for a statement in flight."""


class PostgresSession:
    """An open transaction at READ COMMITTED. Its operations run in its event loop, whichever loop calls them."""

    def __init__(
        self,
        connection: Connection,
        compiler: PostgresStatementCompiler,
        settings: PostgresSettings,
        pending: PendingOperations,
        *,
        committed: Callable[[set[str]], None],
        ended: "Callable[[PostgresSession, Connection], None]",
    ) -> None:
        """Take an open transaction; `committed` is called with the tables of a commit, `ended` once, at the end."""
        self._connection = connection
        self._compiler = compiler
        self._settings = settings
        self._pending = pending
        self._committed = committed
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        self._one_at_a_time = asyncio.Lock()
        self._tables: set[str] = set()
        self._is_over = False
        self._has_released = False
        self._stale_table = ""
        self.failure: Exception | None = None
        # In an empty context: the task would keep the caller's context alive.
        self._timer = self._loop.call_later(settings.transaction_timeout, self._expire, context=Context())

    def write(self, steps: Sequence[Step]) -> Awaitable[list[Any]]:
        statements = self._compiler.whole_write(steps)

        async def write() -> list[Any]:
            results = await execute(self._connection, run_all(statements))
            self._tables |= tables_changed(statements)
            return results

        return self._submit(write)

    def savepoint(self, name: str) -> Awaitable[None]:
        # A rollback to the savepoint releases the locks that announce its writes, but keeps its transaction id.
        mark = self._compiler.sql.mark_as_writer()
        return self._submit(lambda: self._connection.execute(f"{mark}; SAVEPOINT {name}"))

    def release(self, name: str) -> Awaitable[None]:
        return self._submit(lambda: self._connection.execute(f"RELEASE {name}"))

    def rollback_to(self, name: str) -> Awaitable[None]:
        return self._submit(lambda: self._connection.execute(f"ROLLBACK TO {name}; RELEASE {name}"))

    def commit(self) -> Awaitable[None]:
        return self._submit(self._commit, is_write=True)

    def rollback(self) -> Awaitable[None]:
        return self._start(lambda operation: self._roll_back(None), is_write=True)

    def abandon(self, reason: str = "no reference to it was left") -> None:
        failure = TransactionError(f"the transaction was rolled back: {reason}")
        try:
            self._loop.call_soon_threadsafe(self._abandon, failure, context=Context())
        except RuntimeError:  # the loop is closed, and the connection with it
            self.die(failure)

    def die(self, failure: Exception) -> None:
        """Terminate the transaction with its connection."""
        self._close(failure)
        self._connection.terminate()
        self._release()

    def read(self, read: Read[T]) -> Awaitable[T]:
        statement = self._compiler.read(read)
        return self._submit(lambda: execution.read(self._connection, statement))

    def _submit(self, work: Callable[[], Coroutine[Any, Any, Any]], *, is_write: bool = False) -> "asyncio.Future[Any]":
        return self._start(lambda operation: self._do(operation, work), is_write=is_write)

    def _start(
        self, work: Callable[[PendingOperation], Coroutine[Any, Any, Any]], *, is_write: bool
    ) -> "asyncio.Future[Any]":
        """Start an operation, and return the future of its result in the calling loop.

        A thread that runs in a copy of the caller's context joins the transaction, and has a loop of its own.
        """
        if asyncio.get_running_loop() is self._loop:
            return self._pending.start(work, is_write=is_write)

        async def start() -> Any:
            return await self._pending.start(work, is_write=is_write)

        starting = start()
        try:
            return asyncio.wrap_future(asyncio.run_coroutine_threadsafe(starting, self._loop))
        except RuntimeError as error:
            starting.close()
            raise TransactionError("the transaction was rolled back: the event loop that began it has ended") from error

    async def _do(self, operation: PendingOperation, work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        operation.is_waiting = False
        async with self._one_at_a_time:
            self._require_open()
            try:
                return await work()
            except Exception as error:
                if self.failure is not None:
                    raise copy_error(self.failure) from error
                if (
                    not self._is_over
                    and retry_decision(error, self._connection.is_closed) is RetryDecision.UNKNOWN_OUTCOME
                ):
                    lost = self._connection.lost_transaction(error)
                    self.die(lost)
                    raise copy_error(lost) from error
                if isinstance(error, StaleSequenceError):
                    self._stale_table = error.table
                    raise CollisionError(f"{error.message}, and will be advanced; {RETRY_ADVICE}") from error
                if isinstance(error, OvertakenError):
                    raise CollisionError(f"{error.message}; {RETRY_ADVICE}") from error
                translated = self._connection.failure(error)
                raise translated from translated.__cause__
            except BaseException:
                self.die(TransactionError("the event loop has ended"))
                raise

    async def _commit(self) -> None:
        if self._connection.is_closed:  # nothing was sent, so nothing is committed
            raise ConnectionError("it was closed before the commit")
        self._close(None)
        try:
            await self._connection.commit()
        except Exception as error:
            if retry_decision(error, self._connection.is_closed) is RetryDecision.UNKNOWN_OUTCOME:
                self._connection.terminate()
                raise self._connection.lost_answer(error) from error
            raise
        else:
            self._committed(self._tables)
        finally:
            self._release()

    async def _roll_back(self, failure: Exception | None) -> None:
        self._close(failure)
        if self._has_released:
            return
        try:
            async with asyncio.timeout(_GRACE_SECONDS):
                await self._one_at_a_time.acquire()
        except TimeoutError:
            # A statement is in flight, and its result is not needed: the server rolls it back with the transaction.
            self._connection.terminate()
            await self._one_at_a_time.acquire()
        try:
            if not self._has_released:
                await self._connection.roll_back()
                if self._stale_table and not self._connection.is_closed:
                    with suppress(*DRIVER_ERRORS, DatabaseError):  # the next transaction gets the error, too
                        await advance_sequence(self._connection, self._settings.schema, self._stale_table)
                self._release()
        finally:
            self._one_at_a_time.release()

    def _abandon(self, failure: Exception) -> None:
        if not self._is_over:
            self._close(failure)
            self._pending.start(lambda operation: self._roll_back(failure), is_write=True)

    def _expire(self) -> None:
        self._abandon(was_open_too_long(self._settings.transaction_timeout))

    def _close(self, failure: Exception | None) -> None:
        if not self._is_over:
            self._is_over = True
            self.failure = failure
            self._timer.cancel()

    def _release(self) -> None:
        """Release the connection and the write lock, once."""
        if not self._has_released:
            self._has_released = True
            self._ended(self, self._connection)

    def _require_open(self) -> None:
        if self._is_over:
            raise copy_error(self.failure or is_over())


class PostgresSnapshot:
    """A snapshot of the schema, on a connection of its own."""

    def __init__(
        self,
        connection: Connection,
        compiler: PostgresStatementCompiler,
        schema: str,
        pending: PendingOperations,
        release: Callable[[Connection], None],
    ) -> None:
        """Take an open transaction; `release` returns the connection to the pool."""
        self._connection = connection
        self._compiler = compiler
        self._schema = schema
        self._pending = pending
        self._release = release
        self._one_at_a_time = asyncio.Lock()
        self._is_closed = False

    def numbers(self) -> Awaitable[Mapping[str, int]]:
        return self._submit(lambda connection: numbers_of(connection, self._schema))

    def close(self) -> Awaitable[None]:
        return self._pending.start(lambda operation: self._close(), is_write=False)

    def read(self, read: Read[T]) -> Awaitable[T]:
        if isinstance(read, LastSequence):
            # Later commits are not visible in a snapshot, so there is nothing to wait for.
            statement: Statement = self._compiler.last_shown(read)
        else:
            statement = self._compiler.read(read)
        return self._submit(lambda connection: execution.read(connection, statement))

    def _submit(self, work: Callable[[Connection], Coroutine[Any, Any, T]]) -> "asyncio.Future[T]":
        return self._pending.start(lambda operation: self._do(operation, work), is_write=False)

    async def _do(self, operation: PendingOperation, work: Callable[[Connection], Coroutine[Any, Any, T]]) -> T:
        operation.is_waiting = False
        async with self._one_at_a_time:
            if self._is_closed:
                raise ClosedError("the snapshot is closed")
            try:
                return await work(self._connection)
            except Exception as error:
                translated = self._connection.failure(error)
                raise translated from translated.__cause__

    async def _close(self) -> None:
        async with self._one_at_a_time:
            if not self._is_closed:
                self._is_closed = True
                try:
                    await self._connection.roll_back()
                finally:
                    self._release(self._connection)
