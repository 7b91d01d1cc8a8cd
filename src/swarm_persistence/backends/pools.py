"""The base class of the builders of storages with a connection pool."""

from datetime import timedelta
from typing import Generic, Self, TypeVar

import msgspec

from swarm_persistence.durations import in_seconds
from swarm_persistence.engines.pools import Durability, PoolSettings

S = TypeVar("S", bound=PoolSettings)


class PooledStorageBuilder(Generic[S]):
    """Configures a storage; each method changes the builder and returns it. Durations: seconds or timedelta."""

    _settings: S

    def max_connections(self, max: int) -> Self:
        """Set the limit on open connections. Default 16."""
        return self._set(max_connections=max)

    def min_idle_connections(self, min: int) -> Self:
        """Set how many connections stay open however long they are idle. Default 1."""
        return self._set(min_idle_connections=min)

    def connection_timeout(self, timeout: float | timedelta) -> Self:
        """Set how long an operation waits for a connection or a lock before it raises `PoolError`. Default 30 s."""
        return self._set(connection_timeout=in_seconds(timeout))

    def idle_timeout(self, timeout: float | timedelta) -> Self:
        """Set how long an idle connection stays open. Default 600 s."""
        return self._set(idle_timeout=in_seconds(timeout))

    def transaction_timeout(self, timeout: float | timedelta) -> Self:
        """Set how long a transaction may stay open before it is rolled back. Default 30 s."""
        return self._set(transaction_timeout=in_seconds(timeout))

    def durability(self, durability: Durability) -> Self:
        """Set what a power cut may lose: nothing with `full` (the default), the last commits with `normal`."""
        return self._set(durability=durability)

    def migrate(self, migrate: bool = True) -> Self:
        """Set whether opening migrates the schema, or refuses one on which this code cannot work."""
        return self._set(migrate=migrate)

    def _set(self, **changes: object) -> Self:
        self._settings = msgspec.structs.replace(self._settings, **changes)
        return self
