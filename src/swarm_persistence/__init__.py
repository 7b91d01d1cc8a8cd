"""Durable agents, tasks, events, messages, metrics and documents for AI-agent swarms, behind one async `Storage`."""

import sys
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from swarm_persistence.backends.memory import MemoryStorage
from swarm_persistence.backends.targets import init_storage
from swarm_persistence.blocking import BlockingRepository, BlockingStorage, BlockingTransaction, open_storage
from swarm_persistence.clock import now
from swarm_persistence.durations import timedelta_of
from swarm_persistence.engines.interface import MigrationStatus, PoolStatus
from swarm_persistence.errors import (
    ClosedError,
    CollisionError,
    ConflictError,
    DatabaseError,
    DependencyCycleError,
    InvalidQueryError,
    LeaseLostError,
    MigrationError,
    NotFoundError,
    OtherError,
    OutcomeUnknownError,
    PoolError,
    SerializationError,
    StorageError,
    TransactionError,
    UnreadableError,
    WaitTimeoutError,
)
from swarm_persistence.models import (
    AgentModel,
    AgentStatus,
    CatchUp,
    ClaimOutcome,
    DocumentModel,
    EventModel,
    KeyPolicy,
    MessageModel,
    MessagePriority,
    MetricModel,
    Model,
    PastClaim,
    ScheduleModel,
    TaskLimit,
    TaskModel,
    TaskPriority,
    TaskStatus,
)
from swarm_persistence.query.builder import QueryBuilder
from swarm_persistence.storage import (
    AgentLiveness,
    CompletedAndClaimed,
    Durations,
    Erased,
    FoundDocument,
    MetricSummary,
    Pruned,
    PutCounts,
    Recovery,
    Repository,
    ScheduleWatch,
    Storage,
    TaskChanges,
    TaskThroughput,
    ThroughputBucket,
    Transaction,
    UnmetDependency,
    WaitingTasks,
    next_times,
)
from swarm_persistence.version import VERSION

if TYPE_CHECKING:
    from swarm_persistence.backends.postgres import PostgresStorage, PostgresStorageBuilder
    from swarm_persistence.backends.sqlite import SqliteStorage, SqliteStorageBuilder
    from swarm_persistence.backends.wasm import WasmStorage
    from swarm_persistence.worker import (
        FailTask,
        HandlerCancelled,
        RetryPolicy,
        RetryTask,
        SnoozeTask,
        Worker,
        WorkerContext,
    )

__version__ = VERSION

_LATE = {
    "FailTask": "worker",
    "HandlerCancelled": "worker",
    "PostgresStorage": "backends.postgres",
    "PostgresStorageBuilder": "backends.postgres",
    "RetryPolicy": "worker",
    "RetryTask": "worker",
    "SnoozeTask": "worker",
    "SqliteStorage": "backends.sqlite",
    "SqliteStorageBuilder": "backends.sqlite",
    "WasmStorage": "backends.wasm",
    "Worker": "worker",
    "WorkerContext": "worker",
}
"""Modules loaded on first use: not every program has a server, a browser or a worker, or their drivers."""
_NATIVE = ("backends.postgres", "backends.sqlite")
_MISSING = {name for name, module in _LATE.items() if module in _NATIVE and sys.platform == "emscripten"}


def __getattr__(name: str) -> Any:
    if name in _MISSING:
        raise AttributeError(f"{name} needs a driver that no browser has; use WasmStorage")
    if name in _LATE:
        return getattr(import_module(f"swarm_persistence.{_LATE[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "AgentLiveness",
    "AgentModel",
    "AgentStatus",
    "BlockingRepository",
    "BlockingStorage",
    "BlockingTransaction",
    "CatchUp",
    "ClaimOutcome",
    "ClosedError",
    "CollisionError",
    "CompletedAndClaimed",
    "ConflictError",
    "DatabaseError",
    "DependencyCycleError",
    "DocumentModel",
    "Durations",
    "Erased",
    "EventModel",
    "FailTask",
    "FoundDocument",
    "HandlerCancelled",
    "InvalidQueryError",
    "KeyPolicy",
    "LeaseLostError",
    "MemoryStorage",
    "MessageModel",
    "MessagePriority",
    "MetricModel",
    "MetricSummary",
    "MigrationError",
    "MigrationStatus",
    "Model",
    "NotFoundError",
    "OtherError",
    "OutcomeUnknownError",
    "PastClaim",
    "PoolError",
    "PoolStatus",
    "PostgresStorage",
    "PostgresStorageBuilder",
    "Pruned",
    "PutCounts",
    "QueryBuilder",
    "Recovery",
    "Repository",
    "RetryPolicy",
    "RetryTask",
    "ScheduleModel",
    "ScheduleWatch",
    "SerializationError",
    "SnoozeTask",
    "SqliteStorage",
    "SqliteStorageBuilder",
    "Storage",
    "StorageError",
    "TaskChanges",
    "TaskLimit",
    "TaskModel",
    "TaskPriority",
    "TaskStatus",
    "TaskThroughput",
    "ThroughputBucket",
    "Transaction",
    "TransactionError",
    "UnmetDependency",
    "UnreadableError",
    "WaitTimeoutError",
    "WaitingTasks",
    "WasmStorage",
    "Worker",
    "WorkerContext",
    "init_storage",
    "next_times",
    "now",
    "open_storage",
    "timedelta_of",
]

# `import *` loads all that is listed: where the optional driver is not installed, what needs it is not.
_WITHOUT_DRIVER = {"PostgresStorage", "PostgresStorageBuilder"} if find_spec("asyncpg") is None else set()

for _name in _MISSING | _WITHOUT_DRIVER:
    __all__.remove(_name)
