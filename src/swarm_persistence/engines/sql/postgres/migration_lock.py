"""The lock of migrations: one process at a time changes a schema; the others wait without holding a snapshot."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from swarm_persistence.engines.sql.postgres.connection import Connection
from swarm_persistence.engines.sql.postgres.failures import DRIVER_ERRORS

_PAUSE_SECONDS = 0.05

_KEY = "hashtextextended($1, 0)"

OpenConnection = Callable[[], Awaitable[Connection]]


class MigrationLockedError(Exception):
    """Another process holds the migration lock."""


class MigrationLock:
    """An advisory lock, which is also released when its connection is lost.

    A session that waits for one holds a snapshot, and a concurrent index build would wait for the end of that. So the
    lock is polled for, each time in a new transaction.
    """

    def __init__(self, schema: str, open_connection: OpenConnection) -> None:
        """Take the name of the schema, and a function that opens another connection."""
        self._name = (f"swarm-persistence {schema}",)
        self._open_connection = open_connection

    async def begin(self, connection: Connection, retry_seconds: float) -> None:
        """Begin a transaction that holds the lock until it ends.

        Raises:
            MigrationLockedError: another process held it for longer than `retry_seconds`.

        """

        async def attempt() -> bool:
            await connection.begin()
            try:
                is_taken = bool((await connection.run(f"SELECT pg_try_advisory_xact_lock({_KEY})", self._name))[0][0])
            except BaseException:
                await connection.roll_back()
                raise
            if not is_taken:
                await connection.roll_back()
            return is_taken

        await _poll_until_acquired(attempt, retry_seconds)

    @asynccontextmanager
    async def held(self, connection: Connection, retry_seconds: float) -> AsyncIterator[None]:
        """Hold the lock within the block, in which the connection can be used for anything.

        If a pooler shares the session, a second connection holds it.
        """
        if not connection.owns_session:
            holder = await self._open_connection()
            try:
                await self.begin(holder, retry_seconds)
                # By the simple protocol: the portal of the last query would keep its snapshot as long as it is there.
                await holder.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
                yield
            finally:
                await holder.roll_back()
                await holder.close()
            return

        async def attempt() -> bool:
            return bool((await connection.run(f"SELECT pg_try_advisory_lock({_KEY})", self._name))[0][0])

        try:
            await _poll_until_acquired(attempt, retry_seconds)
        except asyncio.CancelledError:
            connection.terminate()  # it may hold the lock, and must not go back to a pool
            raise
        try:
            yield
        finally:
            await self._release(connection)

    async def _release(self, connection: Connection) -> None:
        if connection.is_closed:
            return
        try:
            await connection.run(f"SELECT pg_advisory_unlock({_KEY})", self._name)
        except DRIVER_ERRORS:
            connection.terminate()
        except BaseException:
            connection.terminate()  # a session that keeps the lock would keep all others from it
            raise


async def _poll_until_acquired(attempt: Callable[[], Awaitable[bool]], retry_seconds: float) -> None:
    deadline = time.monotonic() + retry_seconds
    while not await attempt():
        if time.monotonic() >= deadline:
            raise MigrationLockedError
        await asyncio.sleep(_PAUSE_SECONDS)
