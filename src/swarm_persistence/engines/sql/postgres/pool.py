"""What the schemas of one database share: the servers, and for each event loop its connections and its signals."""

import asyncio
import threading
from collections.abc import AsyncGenerator
from contextlib import suppress
from contextvars import Context
from typing import Protocol

from swarm_persistence.engines.sql.postgres.connector import Connector
from swarm_persistence.engines.sql.postgres.links import Links
from swarm_persistence.engines.sql.postgres.places import Places
from swarm_persistence.engines.sql.postgres.settings import Settings
from swarm_persistence.engines.sql.postgres.signals import Signals
from swarm_persistence.engines.sql.postgres.target import Target
from swarm_persistence.errors import ClosedError


class Port(Protocol):
    """What a schema has in one event loop. Both methods run there."""

    async def close(self) -> None:
        """Finish what is under way."""
        ...

    def terminate(self) -> None:
        """Drop everything at once."""
        ...


class ConnectionPool:
    """The connections to one database, over all event loops."""

    def __init__(self, target: Target, settings: Settings) -> None:
        self.target = target
        self.settings = settings
        self.connector = Connector(target, settings)
        self.places = Places(settings.max_connections)
        self._loops: dict[asyncio.AbstractEventLoop, LoopConnections] = {}
        self._gate = threading.Lock()
        self._is_closed = False

    def here(self) -> "LoopConnections":
        """Return the connections of the running loop."""
        loop = asyncio.get_running_loop()
        with self._gate:
            connections = self._loops.get(loop)
            if connections is None:
                if self._is_closed:
                    raise ClosedError("the storage is closed")
                connections = self._loops[loop] = LoopConnections(self)
        return connections

    def begin_service(self, agent: str) -> None:
        """Let the connections show the name of an agent whose worker begins; from any thread."""
        self.connector.application.add(agent)
        self._rename()

    def end_service(self, agent: str) -> None:
        """Let them show it no longer; from any thread."""
        self.connector.application.discard(agent)
        self._rename()

    def open_connections(self) -> int:
        """Return how many connections are open."""
        return sum(connections.links.open for connections in self._all())

    def active_connections(self) -> int:
        """Return how many connections are in use."""
        return sum(connections.links.lent for connections in self._all())

    async def close(self) -> None:
        """Finish what is under way in this loop, and close all connections; a second call does nothing."""
        self._is_closed = True
        own = self._loops.get(asyncio.get_running_loop())
        for connections in self._all():
            if connections is not own:
                connections.terminate_soon()
        if own is not None:
            await own.close()
            self.forget(own)

    def abandon(self) -> None:
        """Drop all connections; from any thread."""
        self._is_closed = True
        for connections in self._all():
            connections.terminate_soon()

    def forget(self, connections: "LoopConnections") -> None:
        """Let go of a loop that has ended."""
        with self._gate:
            if self._loops.get(connections.loop) is connections:
                del self._loops[connections.loop]

    def _rename(self) -> None:
        for connections in self._all():
            with suppress(RuntimeError):  # the loop is closed
                connections.loop.call_soon_threadsafe(connections.links.rename_idle, context=Context())

    def _all(self) -> "list[LoopConnections]":
        with self._gate:
            return [*self._loops.values()]


class LoopConnections:
    """The connections of one event loop, the signals that go over them, and the ports that use both.

    They end with the loop.
    """

    def __init__(self, pool: ConnectionPool) -> None:
        self.loop = asyncio.get_running_loop()
        self.links = Links(pool.connector, pool.places, pool.settings, pool.open_connections)
        self.signals = Signals(self.links, pool.connector, pool.settings)
        self.ports: set[Port] = set()
        self._pool = pool
        self._end = self._until_the_loop_ends()
        with suppress(StopIteration):
            # A loop ends what it has seen begin: so much for those who end it without a close of the storage.
            self._end.__anext__().send(None)

    async def close(self) -> None:
        """Let the ports finish what is under way, and close the connections; a cancelled close drops them at once."""
        try:
            for port in [*self.ports]:
                await port.close()
            await self.signals.close()
            await self.links.close()
        except BaseException:
            self.terminate()
            raise

    def terminate(self) -> None:
        """Drop everything at once."""
        for port in [*self.ports]:
            port.terminate()
        self.signals.terminate()
        self.links.terminate()

    def terminate_soon(self) -> None:
        """Drop everything at once; from any thread."""
        try:
            self.loop.call_soon_threadsafe(self.terminate)
        except RuntimeError:  # the loop is closed, and has ended what it had
            self.terminate()

    async def _until_the_loop_ends(self) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            self.terminate()
            self._pool.forget(self)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
