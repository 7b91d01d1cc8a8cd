"""The public class `Storage`: all verbs, transactions and maintenance, over any engine."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from swarm_persistence.engines.interface import Engine, MigrationStatus, PoolStatus, Watch
from swarm_persistence.engines.runtime import new_lock
from swarm_persistence.engines.schemas import require_name
from swarm_persistence.errors import ClosedError, InvalidQueryError
from swarm_persistence.models import AgentModel, DocumentModel, Model, TaskModel
from swarm_persistence.schema.tables import M, table_of, watched_table_of
from swarm_persistence.storage import transactions
from swarm_persistence.storage.agents import AgentVerbs
from swarm_persistence.storage.approvals import ApprovalVerbs
from swarm_persistence.storage.arguments import several
from swarm_persistence.storage.backups import BackupVerbs
from swarm_persistence.storage.completions import CompletionVerbs
from swarm_persistence.storage.core import disable
from swarm_persistence.storage.deletions import DeletionVerbs
from swarm_persistence.storage.document_search import DocumentSearchVerbs
from swarm_persistence.storage.events import EventVerbs
from swarm_persistence.storage.limits import LimitVerbs
from swarm_persistence.storage.messages import MessageVerbs
from swarm_persistence.storage.metrics import MetricVerbs
from swarm_persistence.storage.modifying import RetryVerbs, modify
from swarm_persistence.storage.overview import OverviewVerbs
from swarm_persistence.storage.pruning import PruningVerbs
from swarm_persistence.storage.recovery import RecoveryVerbs
from swarm_persistence.storage.repository import Repository
from swarm_persistence.storage.schedules import ScheduleVerbs
from swarm_persistence.storage.storing import store_all
from swarm_persistence.storage.task_dependencies import DependencyVerbs
from swarm_persistence.storage.task_waits import WaitVerbs
from swarm_persistence.storage.transactions import ATTEMPTS, Transaction, TransactionBlock

T = TypeVar("T")
V = TypeVar("V", AgentModel, TaskModel, DocumentModel)


class Storage(
    AgentVerbs,
    RecoveryVerbs,
    CompletionVerbs,
    RetryVerbs,
    ApprovalVerbs,
    LimitVerbs,
    DependencyVerbs,
    WaitVerbs,
    ScheduleVerbs,
    EventVerbs,
    MessageVerbs,
    MetricVerbs,
    OverviewVerbs,
    DocumentSearchVerbs,
    DeletionVerbs,
    PruningVerbs,
    BackupVerbs,
):
    """A durable store of agents, tasks, events, messages, metrics and documents.

    Safe for concurrent use from many tasks, threads and event loops. A write is durable once its call has returned;
    returned records are copies. Every call may raise `DatabaseError` (the database failed, and the call had no effect),
    `PoolError` (no connection or write lock within `connection_timeout`), `ClosedError`, and, inside a transaction,
    `TransactionError`.
    """

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self._schemas: Schemas[Any] = Schemas()

    async def store_many(self, models: Iterable[Model]) -> int:
        """Store new records of any models in one atomic write, and return how many were stored.

        A record whose `idempotency_key` is stored already is skipped, and not counted.

        Raises:
            ConflictError: an id is taken, or the stored task of a key has another type or payload; none of them is
                stored.
            SerializationError: a field's value cannot be stored; nothing was written.

        """
        records = several(models, "models", "a list of models")
        stored = await store_all(self, records)
        return sum(given is kept for given, kept in zip(records, stored, strict=True))

    async def modify(self, model: type[V], id: str, function: Callable[[V], V | None]) -> V:
        """Read a record, apply a function to it, write and return it; retry if the record has changed in between.

        The function gets a copy, which it changes in place, or returns another record of the same id. It may be called
        more than once. If it raises, the record is unchanged.

        Raises:
            NotFoundError: no record has this id.
            InvalidQueryError: records of this model have no version by which a concurrent change could be detected.

        """
        return await modify(self, table_of(model), id, function)

    def schema(self, name: str) -> Self:
        """Return the storage of another schema of this database: a separate swarm over the same connections.

        `async with`, or the first call, creates the schema or migrates it, and raises what opening it raises. The same
        name returns the same storage until that is closed; the `schema_name` of the storage that was opened first
        returns that storage. Closing that one closes them all; closing another one waits for its own operations and
        leaves the connections open. No transaction spans two schemas.

        On SQLite, each schema is a separate file: `swarm.acme.db` beside `swarm.db`. In a browser it is the database
        `swarm.acme`.

        Raises:
            OtherError: the name is invalid.
            ClosedError: the storage is closed.

        """
        require_name(name)
        if not self._is_usable:
            raise ClosedError(f"{self!r} is closed")
        first = self._first or self
        if name == first.schema_name:
            return first
        other: Self = first._schemas.of(name, first._beside)
        return other

    def repository(self, model: type[M]) -> Repository[M]:
        """Return the repository of one model: its records by id and by query."""
        return Repository(self, model)

    def begin_transaction(self) -> Coroutine[Any, Any, Transaction]:
        """Begin a transaction that further calls of this task, and of tasks started from it, join.

        Other callers see only committed data; their writes wait, their reads do not. Within a transaction, this begins
        a nested one, whose rollback undoes only its own part. A database error dooms the transaction: later calls and
        `commit` raise `TransactionError`.

        Raises:
            PoolError: another transaction held the write lock for longer than `connection_timeout`.

        """
        return self._begin()

    def transaction(self) -> TransactionBlock:
        """Return a transaction for `async with`: commits on success, rolls back on any exception."""
        return TransactionBlock(self.begin_transaction)

    async def run_transaction(self, work: Callable[[], Awaitable[T]], *, attempts: int = ATTEMPTS) -> T:
        """Call `work` in a transaction, and return its result.

        If the transaction collides with another one (a deadlock, for example), or loses its connection before the
        commit is sent, it is rolled back and `work` is called again, so its other side effects may happen twice. Within
        a transaction, this is a nested one, which is not retried: retry the outer one.

        Raises:
            CollisionError: the last of `attempts` has collided as well.

        """
        return await transactions.run(self.transaction, work, self._pauses(attempts))

    async def vacuum(self) -> None:
        """Return the disk space of deleted records to the operating system; not possible within a transaction."""
        self._require_no_transaction("vacuum")
        await self._engine.vacuum()

    async def checkpoint(self) -> None:
        """Run a checkpoint of the write-ahead log; not possible within a transaction."""
        self._require_no_transaction("checkpoint")
        await self._engine.checkpoint()

    async def migrate_to(self, version: int) -> None:
        """Migrate the schema to this version, up or down; not possible within a transaction.

        Below the version that this code needs, the other methods fail. A storage without a schema, such as memory, has
        only version 0. SQLite runs all migrations or none. PostgreSQL runs them one by one while others read and write;
        after an error or an interruption, the next opening or call resumes.

        Raises:
            MigrationError: the version is unknown, or a migration failed; the message says what was done.

        """
        self._require_no_transaction("migrate_to")
        await self._engine.migrate_to(version)

    async def migration_status(self) -> MigrationStatus:
        """Return the schema's version, the latest version that this code knows, and the migrations applied."""
        self._require_no_transaction("migration_status")
        return await self._engine.migration_status()

    async def get_storage_size(self) -> int:
        """Return the size of the store in bytes, including its log."""
        return await self._engine.size()

    def watch_commits(self, *models: type[Model]) -> Watch:
        """Return a watch that waits for commits to records of these models, `TaskLimit` included; close it.

        It sees commits of any process from its creation on, and reports that there was one, not what was written. It
        belongs to the event loop that created it.

        Raises:
            InvalidQueryError: no model is given, or a class is not a model.
            TransactionError: within a transaction, which sees no commits of others.

        """
        self._require_no_transaction("watch_commits")
        if not models:
            raise InvalidQueryError("models is empty, expected at least one model's class")
        return self._engine.watch(tuple(watched_table_of(model) for model in models))

    def begin_service(self, agent: AgentModel) -> None:
        """Record that a worker of this agent starts; call `end_service` once it has stopped.

        Where connections have a name on a server, it contains the agent's name until then. Nothing is stored.

        Raises:
            TransactionError: within a transaction, which would include all writes of the worker.

        """
        self._require_no_transaction("a worker")

    def end_service(self, agent: AgentModel) -> None:
        """Record that the worker has stopped; it does nothing once the storage is closed."""

    def pool_status(self) -> PoolStatus:
        """Return the state of the connection pool."""
        return self._engine.pool_status()

    async def close(self) -> None:
        """Wait for pending operations and release all resources; idempotent. Any other call afterwards raises.

        Closing the storage that was opened first also closes those that `schema` has returned.
        """
        engine = self._engine
        disable(self, f"{self!r} is closed")
        if self._first is not None:
            self._first._schemas.forget(self.schema_name, self)
        try:
            if others := self._schemas.end():
                await asyncio.gather(*(other.close() for other in others))
            await self._abandoned_claims.settled()
        finally:
            await engine.close()

    def _beside(self, name: str) -> Self:
        """Return the storage of another schema."""
        storage = object.__new__(type(self))
        storage.__dict__.update(self.__dict__)  # keeps the attributes of subclasses
        Storage.__init__(storage, self._engine.for_schema(name))
        storage._first = self
        return storage

    async def __aenter__(self) -> Self:
        # A traced engine forwards the attribute to the one below.
        if (open_first := getattr(self._engine, "opened", None)) is not None:
            await open_first()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()


S = TypeVar("S")


class Schemas(Generic[S]):
    """The open storages of further schemas. Thread-safe."""

    def __init__(self) -> None:
        self._storages: dict[str, S] = {}
        self._lock = new_lock()
        self._is_closed = False

    def of(self, name: str, make: Callable[[str], S]) -> S:
        """Return the open storage of a schema, or a new one."""
        with self._lock:
            if self._is_closed:
                raise ClosedError("the storage is closed")
            storage = self._storages.get(name)
            if storage is None:
                storage = self._storages[name] = make(name)
            return storage

    def forget(self, name: str, storage: S) -> None:
        """Remove a storage that is being closed."""
        with self._lock:
            if self._storages.get(name) is storage:
                del self._storages[name]

    def end(self) -> list[S]:
        """Refuse further storages, and return the open ones."""
        with self._lock:
            self._is_closed = True
            return [*self._storages.values()]
