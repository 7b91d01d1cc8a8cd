"""`MemoryStorage`: the storage in this process's memory, for tests and for work that needs no durability."""

from datetime import timedelta
from typing import Self

from swarm_persistence.durations import seconds
from swarm_persistence.engines.rows.memory.engine import MemoryEngine
from swarm_persistence.storage import Storage


class MemoryStorage(Storage):
    """A storage that exists as long as this object, or until `close`.

    It behaves as every other storage, but is not durable. It starts no thread, and is safe for use from any number of
    tasks, threads and event loops.
    """

    database_system = "memory"

    def __init__(
        self, *, connection_timeout: float | timedelta = 30.0, transaction_timeout: float | timedelta = 30.0
    ) -> None:
        """Create an empty storage. Durations: seconds or timedelta.

        `connection_timeout` is how long a write waits for another transaction before it raises `PoolError`;
        `transaction_timeout` is how long a transaction may stay open before it is rolled back. An invalid duration
        raises `OtherError`.
        """
        super().__init__(
            MemoryEngine(
                seconds(connection_timeout, "connection_timeout"),
                seconds(transaction_timeout, "transaction_timeout"),
            )
        )

    @classmethod
    def new(cls) -> Self:
        """Return an empty storage: the seed's spelling."""
        return cls()

    def __repr__(self) -> str:
        return "MemoryStorage()" if self._first is None else f"MemoryStorage().schema({self.schema_name!r})"
