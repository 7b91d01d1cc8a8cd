"""The same storage without `await`."""

from swarm_persistence.blocking.storage import BlockingRepository, BlockingStorage, BlockingTransaction, open_storage

__all__ = ["BlockingRepository", "BlockingStorage", "BlockingTransaction", "open_storage"]
