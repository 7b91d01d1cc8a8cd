"""Reads of one snapshot: a transaction at REPEATABLE READ on a connection of its own."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, TypeVar

from swarm_persistence.engines.reads import LastSequence, Read
from swarm_persistence.engines.sql.postgres import execution
from swarm_persistence.engines.sql.postgres.connection import Connection
from swarm_persistence.engines.sql.postgres.pending import PendingOperation, PendingOperations
from swarm_persistence.engines.sql.postgres.sequences import numbers_of
from swarm_persistence.engines.sql.postgres.statement_compiler import PostgresStatementCompiler
from swarm_persistence.engines.sql.statements import Statement
from swarm_persistence.errors import ClosedError

T = TypeVar("T")


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
