"""`MemoryStorage`: the storage in this process's memory, for tests, for work that needs no disk, and for trying out."""

from datetime import timedelta

from swarm_persistence.durations import seconds
from swarm_persistence.engines.rows.memory.engine import MemoryEngine
from swarm_persistence.storage import Storage


class MemoryStorage(Storage):
    """A storage that lives as long as this object, or until `close`.

    It keeps every promise of a storage but durability: copies, transactions, order, errors. It starts no thread and may
    be used from any number of tasks, threads and event loops.
    """

    def __init__(
        self, *, connection_timeout: float | timedelta = 30.0, transaction_timeout: float | timedelta = 30.0
    ) -> None:
        """Create an empty storage. Durations: seconds or timedelta.

        `connection_timeout` is how long a write waits for another one's transaction before it raises `PoolError`;
        `transaction_timeout` is how long a transaction may stay open before it is rolled back. A duration without sense
        raises `OtherError`.
        """
        super().__init__(
            MemoryEngine(
                seconds(connection_timeout, "connection_timeout"),
                seconds(transaction_timeout, "transaction_timeout"),
            )
        )

    def __repr__(self) -> str:
        return "MemoryStorage()" if self._first is None else f"MemoryStorage().schema({self.schema_name!r})"
