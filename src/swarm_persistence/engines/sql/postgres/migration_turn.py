"""The turn to change a schema: one process at a time, and those that ask in vain wait without a snapshot."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from swarm_persistence.engines.sql.postgres.connection import Connection
from swarm_persistence.engines.sql.postgres.failures import DRIVER_ERRORS

_PAUSE_SECONDS = 0.05

_KEY = "hashtextextended($1, 0)"

OpenConnection = Callable[[], Awaitable[Connection]]


class TurnTakenError(Exception):
    """Another process has the turn."""


class MigrationTurn:
    """An advisory lock, which ends with its connection, too.

    A session that waits for one holds a snapshot, and an index that is built concurrently would wait for the end of
    that: so the lock is asked for again and again, each time in a transaction of its own.
    """

    def __init__(self, schema: str, open_connection: OpenConnection) -> None:
        """Take the name of the schema, and the way to a second connection."""
        self._name = (f"swarm-persistence {schema}",)
        self._open_connection = open_connection

    async def begin(self, connection: Connection, patience: float) -> None:
        """Open a transaction that has the turn until it ends.

        Raises:
            TurnTakenError: another process had it for longer than the patience, in seconds.

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

        await _until(attempt, patience)

    @asynccontextmanager
    async def held(self, connection: Connection, patience: float) -> AsyncIterator[None]:
        """Have the turn within the block, in which the connection is free for anything.

        Where the session is lent to others between two transactions, a second connection has it.
        """
        if not connection.owns_session:
            holder = await self._open_connection()
            try:
                await self.begin(holder, patience)
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
            await _until(attempt, patience)
        except asyncio.CancelledError:
            connection.terminate()  # it may hold the lock, and must not go back to a pool
            raise
        try:
            yield
        finally:
            await self._give_back(connection)

    async def _give_back(self, connection: Connection) -> None:
        if connection.is_closed:
            return
        try:
            await connection.run(f"SELECT pg_advisory_unlock({_KEY})", self._name)
        except DRIVER_ERRORS:
            connection.terminate()
        except BaseException:
            connection.terminate()  # a session that keeps the lock would keep all others from it
            raise


async def _until(attempt: Callable[[], Awaitable[bool]], patience: float) -> None:
    deadline = time.monotonic() + patience
    while not await attempt():
        if time.monotonic() >= deadline:
            raise TurnTakenError
        await asyncio.sleep(_PAUSE_SECONDS)
