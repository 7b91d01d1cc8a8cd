"""The turn to change a schema: one process at a time, and those that ask in vain wait without a snapshot."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from swarm_persistence.engines.sql.postgres.failures import DRIVER_ERRORS
from swarm_persistence.engines.sql.postgres.link import Link

_PAUSE_SECONDS = 0.05

_KEY = "hashtextextended($1, 0)"

OpenLink = Callable[[], Awaitable[Link]]


class TurnTakenError(Exception):
    """Another process has the turn."""


class MigrationTurn:
    """An advisory lock, which ends with its connection, too.

    A session that waits for one holds a snapshot, and an index that is built concurrently would wait for the end of
    that: so the lock is asked for again and again.
    """

    def __init__(self, schema: str, open_link: OpenLink) -> None:
        """Take the name of the schema, and the way to a second connection."""
        self._name = (f"swarm-persistence {schema}",)
        self._open_link = open_link

    async def take_in_transaction(self, link: Link, patience: float) -> None:
        """Take the turn until the connection's open transaction ends.

        Raises:
            TurnTakenError: another process had it for longer than the patience, in seconds.

        """
        await self._ask(link, f"SELECT pg_try_advisory_xact_lock({_KEY})", patience)

    @asynccontextmanager
    async def held(self, link: Link, patience: float) -> AsyncIterator[None]:
        """Have the turn within the block, in which the connection is free for anything.

        Where the session is lent to others between two transactions, a second connection has it.
        """
        if link.owns_session:
            await self._ask(link, f"SELECT pg_try_advisory_lock({_KEY})", patience)
            try:
                yield
            finally:
                await self._give_back(link)
            return
        holder = await self._open_link()
        try:
            await holder.begin()
            await holder.order("SET LOCAL idle_in_transaction_session_timeout = 0")
            await self.take_in_transaction(holder, patience)
            yield
        finally:
            await holder.roll_back()
            await holder.close()

    async def _ask(self, link: Link, text: str, patience: float) -> None:
        deadline = time.monotonic() + patience
        while not (await link.run(text, self._name))[0][0]:
            if time.monotonic() >= deadline:
                raise TurnTakenError
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _give_back(self, link: Link) -> None:
        if link.is_closed:
            return
        try:
            await link.run(f"SELECT pg_advisory_unlock({_KEY})", self._name)
        except DRIVER_ERRORS:
            link.terminate()
        except BaseException:
            link.terminate()  # a session that keeps the lock would keep all others from it
            raise
