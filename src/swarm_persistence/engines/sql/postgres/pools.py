"""What the schemas of one database share: a connection pool and a notifier for each event loop."""

import asyncio
import threading
from collections.abc import AsyncGenerator
from contextlib import suppress
from contextvars import Context
from typing import Protocol

from swarm_persistence.engines.sql.postgres.connection_limit import ConnectionLimit
from swarm_persistence.engines.sql.postgres.connector import Connector
from swarm_persistence.engines.sql.postgres.notifications import Notifications
from swarm_persistence.engines.sql.postgres.pool import ConnectionPool
from swarm_persistence.engines.sql.postgres.settings import PostgresSettings
from swarm_persistence.engines.sql.postgres.url import PostgresUrl
from swarm_persistence.errors import ClosedError


class Closable(Protocol):
    """What belongs to one event loop. Both methods run there."""

    loop: asyncio.AbstractEventLoop

    async def close(self) -> None:
        """Finish the operations in flight."""
        ...

    def terminate(self) -> None:
        """Terminate all connections and tasks."""
        ...


def terminate_soon(resource: Closable) -> None:
    """Terminate what belongs to an event loop; from any thread."""
    try:
        resource.loop.call_soon_threadsafe(resource.terminate)
    except RuntimeError:  # the loop is closed, and its tasks with it
        resource.terminate()


class ConnectionPools:
    """The pools of one database, one for each event loop, under a common limit."""

    def __init__(self, target: PostgresUrl, settings: PostgresSettings) -> None:
        self.target = target
        self.settings = settings
        self.connector = Connector(target, settings)
        self.limit = ConnectionLimit(settings.max_connections)
        self._loops: dict[asyncio.AbstractEventLoop, LoopResources] = {}
        self._lock = threading.Lock()
        self._is_closed = False

    def of_running_loop(self) -> "LoopResources":
        """Return the resources of the running event loop."""
        loop = asyncio.get_running_loop()
        with self._lock:
            connections = self._loops.get(loop)
            if connections is None:
                if self._is_closed:
                    raise ClosedError("the storage is closed")
                connections = self._loops[loop] = LoopResources(self)
        return connections

    def begin_service(self, agent: str) -> None:
        """Add the name of an agent whose worker has started to the connections' application name; from any thread."""
        self.connector.application.add(agent)
        self._rename()

    def end_service(self, agent: str) -> None:
        """Remove the name of an agent whose worker has ended; from any thread."""
        self.connector.application.discard(agent)
        self._rename()

    def open_connections(self) -> int:
        """Return how many connections are open."""
        return sum(connections.pool.open for connections in self._all())

    def active_connections(self) -> int:
        """Return how many connections are in use."""
        return sum(connections.pool.in_use for connections in self._all())

    async def close(self) -> None:
        """Finish this loop's operations in flight, and close all connections; idempotent."""
        self._is_closed = True
        own = self._loops.get(asyncio.get_running_loop())
        for connections in self._all():
            if connections is not own:
                terminate_soon(connections)
        if own is not None:
            await own.close()
            self.forget(own)

    def abandon(self) -> None:
        """Terminate all connections; from any thread."""
        self._is_closed = True
        for connections in self._all():
            terminate_soon(connections)

    def forget(self, connections: "LoopResources") -> None:
        """Forget the resources of a loop that has ended."""
        with self._lock:
            if self._loops.get(connections.loop) is connections:
                del self._loops[connections.loop]

    def _rename(self) -> None:
        for connections in self._all():
            with suppress(RuntimeError):  # the loop is closed
                connections.loop.call_soon_threadsafe(connections.pool.rename_idle, context=Context())

    def _all(self) -> "list[LoopResources]":
        with self._lock:
            return [*self._loops.values()]


class LoopResources:
    """The pool of one event loop, its notifications of commits, and the schemas' engines that use both.

    They end with the loop.
    """

    def __init__(self, pools: ConnectionPools) -> None:
        self.loop = asyncio.get_running_loop()
        self.pool = ConnectionPool(pools.connector, pools.limit, pools.settings, pools.open_connections)
        self.notifications = Notifications(self.pool, pools.connector, pools.settings)
        self.loop_engines: set[Closable] = set()
        self._pools = pools
        self._end = self._until_the_loop_ends()
        with suppress(StopIteration):
            # A loop closes the generators that it has seen start, also if it ends before the storage is closed.
            self._end.__anext__().send(None)

    async def close(self) -> None:
        """Let the engines finish operations in flight, and close the connections; if cancelled, terminate them."""
        try:
            for engine in [*self.loop_engines]:
                await engine.close()
            await self.notifications.close()
            await self.pool.close()
        except BaseException:
            self.terminate()
            raise

    def terminate(self) -> None:
        """Terminate all connections and tasks."""
        for engine in [*self.loop_engines]:
            engine.terminate()
        self.notifications.terminate()
        self.pool.terminate()

    async def _until_the_loop_ends(self) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            self.terminate()
            self._pools.forget(self)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
