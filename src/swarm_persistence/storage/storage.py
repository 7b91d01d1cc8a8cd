"""The storage: the verbs of all nouns, transactions and maintenance, over any engine."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from types import TracebackType
from typing import Any, Self, TypeVar

from swarm_persistence.engines.interface import Engine, MigrationStatus, PoolStatus
from swarm_persistence.engines.lazy import LazyEngine
from swarm_persistence.engines.schemas import require_name
from swarm_persistence.errors import ClosedError, ConflictError, InvalidQueryError, NotFoundError
from swarm_persistence.models import AgentModel, Model, TaskModel
from swarm_persistence.schema.tables import M, table_of
from swarm_persistence.storage import transactions
from swarm_persistence.storage.agents import AgentVerbs
from swarm_persistence.storage.arguments import several
from swarm_persistence.storage.backups import BackupVerbs
from swarm_persistence.storage.core import disable
from swarm_persistence.storage.events import EventVerbs
from swarm_persistence.storage.messages import MessageVerbs
from swarm_persistence.storage.metrics import MetricVerbs
from swarm_persistence.storage.pruning import PruningVerbs
from swarm_persistence.storage.recovery import RecoveryVerbs
from swarm_persistence.storage.repository import Repository
from swarm_persistence.storage.rewriting import update
from swarm_persistence.storage.schemas import Schemas
from swarm_persistence.storage.storing import store_all
from swarm_persistence.storage.transactions import ATTEMPTS, Transaction, TransactionBlock

T = TypeVar("T")
V = TypeVar("V", AgentModel, TaskModel)


class Storage(AgentVerbs, RecoveryVerbs, EventVerbs, MessageVerbs, MetricVerbs, PruningVerbs, BackupVerbs):
    """A durable store of agents, tasks, events, messages and metrics.

    May be used from many tasks, threads and event loops at once. A call that has returned has reached the store; what
    it returns is a copy. Every call may raise `DatabaseError` (the database failed; the call did nothing), `PoolError`
    (no connection or turn to write within `connection_timeout`), `ClosedError`, and, inside a transaction,
    `TransactionError`.
    """

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self._schemas: Schemas[Any] = Schemas()

    async def store_many(self, models: Iterable[Model]) -> int:
        """Store new records of any models in one atomic write, and return how many they were.

        A record whose `idempotency_key` a stored one has already is left out, and not counted.

        Raises:
            ConflictError: an id is taken; none of them is stored.
            SerializationError: a field's value cannot be stored; nothing was written.

        """
        records = several(models, "models", "a list of models")
        for record in records:
            self._require_model(table_of(type(record)), record)
        stored = await store_all(self, records)
        return sum(given is kept for given, kept in zip(records, stored, strict=True))

    async def modify(self, model: type[V], id: str, function: Callable[[V], V | None]) -> V:
        """Read a record, let a function change it, write it, and return it; again if it has changed in between.

        The function gets a copy, and changes it in place or returns another one of the same id. It may be called more
        than once. What it raises leaves the record as it is.

        Raises:
            NotFoundError: no record has this id.
            InvalidQueryError: records of this model have no version, by which a change in between shows.

        """
        table = table_of(model)
        if not table.is_versioned:
            raise InvalidQueryError(f"{model.__name__} has no version; change it within a transaction")
        while True:
            record = await self._get(table, id)
            if record is None:
                raise NotFoundError(f"{table.label} {id!r}")
            version = record.version
            changed = function(record)
            written = record if changed is None else changed
            if isinstance(written, Model) and written.id != id:
                raise InvalidQueryError(f"the function returned {table.label} {written.id!r}, expected {id!r}")
            try:
                await update(self, table, written)
            except ConflictError:
                stored: Any = await self._get(table, id)
                if stored is not None and stored.version == version:
                    raise  # for another reason than its age
            else:
                return written

    def schema(self, name: str) -> Self:
        """Return the storage of another schema of this database: a swarm of its own, over the same connections.

        It is created, or brought up to date, by `async with` or its first call, which meets what opening it raises.
        The same name gives the same storage until that is closed; the name of the storage that was opened first
        (`schema_name`) gives that one. Its `close` closes them all; `close` of another one ends what is under way
        there, and leaves the connections open. No transaction spans two schemas.

        On SQLite, it is a file of its own: `swarm.acme.db` beside `swarm.db`. In a browser it is the database
        `swarm.acme`.

        Raises:
            OtherError: no schema can have this name.
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
        """Return the records of one model, by id and by query."""
        return Repository(self, model)

    def begin_transaction(self) -> Coroutine[Any, Any, Transaction]:
        """Begin a transaction that this task's further calls join, and those of tasks started from here.

        Others see committed data only, and wait to write, not to read. Within a transaction, this begins a nested one,
        whose rollback undoes its own part only. An error from the database dooms the transaction: later calls and
        `commit` raise `TransactionError`.

        Raises:
            PoolError: another transaction kept writing for longer than `connection_timeout`.

        """
        return self._begin()

    def transaction(self) -> TransactionBlock:
        """Return a transaction for `async with`: commits on success, rolls back on any exception."""
        return TransactionBlock(self.begin_transaction)

    async def run_transaction(self, work: Callable[[], Awaitable[T]], *, attempts: int = ATTEMPTS) -> T:
        """Call `work` in a transaction, and return what it returns.

        If the transaction collides with another one, as two that wait for each other's rows do on a server, or loses
        its connection before the commit is sent, all of it is undone, and `work` is called again: what it does beside
        the storage may so be done twice. Within a transaction, it is a nested one, which is not repeated: the outer one
        has to be.

        Raises:
            CollisionError: that happened so many times.

        """
        return await transactions.run(self.transaction, work, self._pauses(attempts))

    async def vacuum(self) -> None:
        """Give the room of deleted records back to the system; not possible within a transaction."""
        self._require_no_transaction("vacuum")
        await self._engine.vacuum()

    async def checkpoint(self) -> None:
        """Move what the log holds to its final place; not possible within a transaction."""
        self._require_no_transaction("checkpoint")
        await self._engine.checkpoint()

    async def migrate_to(self, version: int) -> None:
        """Bring the schema to this version, forwards or back; not possible within a transaction.

        Below the version that this code needs, the other methods fail. A storage without a schema, such as memory,
        knows version 0. SQLite takes all steps or none. PostgreSQL takes them beside readers and writers, one after the
        other: after an error, or if it was interrupted, the next opening or call goes on from where it was.

        Raises:
            MigrationError: the version is unknown, or a step failed; the text says what was done.

        """
        self._require_no_transaction("migrate_to")
        await self._engine.migrate_to(version)

    async def migration_status(self) -> MigrationStatus:
        """Return the schema's version, the latest that this code knows, and the steps taken."""
        self._require_no_transaction("migration_status")
        return await self._engine.migration_status()

    async def get_storage_size(self) -> int:
        """Return the bytes that the store takes, its log included."""
        return await self._engine.size()

    def _begin_service(self, agent: AgentModel) -> None:
        """Note that a worker begins; where connections show a name on a server, the agent's is a part of it."""

    def _end_service(self, agent: AgentModel) -> None:
        """Note that a worker has ended."""

    def pool_status(self) -> PoolStatus:
        """Return what the connections are doing."""
        return self._engine.pool_status()

    async def close(self) -> None:
        """Finish what was submitted and let go of everything; a second call does nothing, any other one raises.

        The storages of other schemas, which `schema` has returned, are closed with the one that was opened first.
        """
        engine = self._engine
        disable(self, f"{self!r} is closed")
        if self._first is not None:
            self._first._schemas.forget(self.schema_name, self)
        try:
            await asyncio.gather(*(other.close() for other in self._schemas.end()))
            await self._abandoned_claims.settled()
        finally:
            await engine.close()

    def _beside(self, name: str) -> Self:
        """Return the storage of another schema."""
        storage = object.__new__(type(self))
        storage.__dict__.update(self.__dict__)  # for what a subclass has added
        Storage.__init__(storage, self._engine.beside(name))
        storage._first = self
        return storage

    async def __aenter__(self) -> Self:
        if isinstance(self._engine, LazyEngine):
            await self._engine.opened()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()
