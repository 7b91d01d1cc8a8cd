"""Durable agents, tasks, events, messages and metrics for AI-agent swarms, behind one async `Storage`."""

from typing import TYPE_CHECKING, Any

from swarm_persistence.backends.memory import MemoryStorage
from swarm_persistence.backends.targets import init_storage
from swarm_persistence.blocking import BlockingRepository, BlockingStorage, BlockingTransaction, open_storage
from swarm_persistence.engines.interface import MigrationStatus, PoolStatus
from swarm_persistence.errors import (
    ClosedError,
    ConflictError,
    DatabaseError,
    DependencyCycleError,
    InvalidQueryError,
    LeaseLostError,
    MigrationError,
    NotFoundError,
    OtherError,
    PoolError,
    SerializationError,
    StorageError,
    TransactionError,
    UnreadableError,
)
from swarm_persistence.models import (
    AgentModel,
    AgentStatus,
    EventModel,
    MessageModel,
    MetricModel,
    Model,
    TaskModel,
    TaskPriority,
    TaskStatus,
)
from swarm_persistence.query.builder import QueryBuilder
from swarm_persistence.storage import MetricSummary, Pruned, Recovery, Repository, Storage, Transaction

if TYPE_CHECKING:
    from swarm_persistence.backends.sqlite import SqliteStorage, SqliteStorageBuilder
    from swarm_persistence.worker import Worker, WorkerContext

__version__ = "0.1.0"

_NATIVE = {"SqliteStorage", "SqliteStorageBuilder"}
_WORKERS = {"Worker", "WorkerContext"}


def __getattr__(name: str) -> Any:
    # Loaded on first use: a browser has no apsw, and not every program works.
    if name in _NATIVE:
        from swarm_persistence.backends import sqlite

        return getattr(sqlite, name)
    if name in _WORKERS:
        from swarm_persistence import worker

        return getattr(worker, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "AgentModel",
    "AgentStatus",
    "BlockingRepository",
    "BlockingStorage",
    "BlockingTransaction",
    "ClosedError",
    "ConflictError",
    "DatabaseError",
    "DependencyCycleError",
    "EventModel",
    "InvalidQueryError",
    "LeaseLostError",
    "MemoryStorage",
    "MessageModel",
    "MetricModel",
    "MetricSummary",
    "MigrationError",
    "MigrationStatus",
    "Model",
    "NotFoundError",
    "OtherError",
    "PoolError",
    "PoolStatus",
    "Pruned",
    "QueryBuilder",
    "Recovery",
    "Repository",
    "SerializationError",
    "SqliteStorage",
    "SqliteStorageBuilder",
    "Storage",
    "StorageError",
    "TaskModel",
    "TaskPriority",
    "TaskStatus",
    "Transaction",
    "TransactionError",
    "UnreadableError",
    "Worker",
    "WorkerContext",
    "init_storage",
    "open_storage",
]
