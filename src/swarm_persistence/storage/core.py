"""What the nouns of a storage share: the engine, the transaction that a call joins, and single records by id."""

import os
import sys
import warnings
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from typing import Any, NoReturn, Self, TypeVar, cast

from swarm_persistence.engines.interface import Change, Engine, Executor, Increment, Insert, Replace, Save, Step
from swarm_persistence.engines.reads import Get, Select
from swarm_persistence.errors import ClosedError, ConflictError, NotFoundError, TransactionError
from swarm_persistence.models import Model
from swarm_persistence.query.query import Condition, FromNow, Query
from swarm_persistence.schema.tables import M, Table, table_of
from swarm_persistence.schema.values import identifier, refuse, text
from swarm_persistence.storage import transactions
from swarm_persistence.storage.feeds import Feeds
from swarm_persistence.storage.held_transactions import GuardedEngine, HeldTransactions
from swarm_persistence.storage.pickling import NotPicklable
from swarm_persistence.storage.scopes import Scope, find_scope, innermost_scope
from swarm_persistence.storage.transactions import ATTEMPTS, Transaction, TransactionBlock

T = TypeVar("T")


class StorageCore(NotPicklable):
    """The base of the nouns; users meet it as `Storage`."""

    _first: "Self | None" = None
    """The storage that was opened first, and ends this one with itself, if this one is of another schema."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._schema_name = engine.schema_name
        self._held_transactions = HeldTransactions()
        self._feeds = Feeds()
        _storages.add(self)

    @property
    def schema_name(self) -> str:
        """Return the name of the schema that holds the records; `swarm` unless another one was asked for."""
        return self._schema_name

    @property
    def engine(self) -> Engine:
        """Return the engine below the verbs, for tools and tests of those who write one."""
        return self._engine

    @property
    def _is_usable(self) -> bool:
        """Tell whether the storage is neither closed nor another process's."""
        return not isinstance(self._engine, _NoEngine)

    def _executor(self) -> Executor:
        return self._scope() or self._engine_outside()

    def _engine_outside(self) -> Engine:
        """Return the engine as calls outside of a transaction use it."""
        if not self._held_transactions:
            return self._engine
        guarded: Any = GuardedEngine(self._engine, self._held_transactions)
        return cast(Engine, guarded)

    def _begin(self) -> Coroutine[Any, Any, Transaction]:
        """Bind a new transaction to the calling context; the coroutine opens it."""
        engine = self._engine
        if self._held_transactions and self._scope() is None:
            self._held_transactions.refuse_transaction()
            engine = self._engine_outside()
        return transactions.begin(self, engine, self._held_transactions)

    def _scope(self) -> Scope | None:
        if innermost_scope() is None:
            return None
        # A closed storage has no open transaction: its engine says so to whoever calls.
        return find_scope(self) if self._is_usable else None

    async def _write_one(self, step: Step) -> Any:
        return (await self._executor().write((step,)))[0]

    def _require_no_transaction(self, verb: str) -> None:
        # It would wait for its turn to write, which its own caller holds.
        if self._scope() is not None:
            raise TransactionError(f"{verb} is not possible within a transaction; call it after commit or rollback")

    async def _as_one(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do some work in a transaction, and if it collides with another one, all of it again."""

        if self._held_transactions and self._scope() is None:
            self._held_transactions.refuse_write()

        def block() -> TransactionBlock:
            return TransactionBlock(self._begin)

        return await transactions.run(block, work, self._pauses(ATTEMPTS))

    def _pauses(self, attempts: int) -> Iterator[float]:
        """Return the pauses between the attempts of a transaction: a nested one has but one attempt."""
        return transactions.pauses(attempts if self._scope() is None else 1)

    async def _write_record(self, step: Insert[Any] | Save[Any] | Replace[Any]) -> Any:
        """Do a step, and what else must be written with its record; return the step's result."""
        return (await self._executor().write((step,)))[0]

    async def _write_records(self, inserts: Sequence[Insert[Any]]) -> list[Any]:
        """Do steps as one, and what else must be written with their records; return the steps' results."""
        return await self._executor().write(inserts)

    async def _store(self, table: Table[M], model: M) -> M:
        if type(model) is not table.model:
            self._refuse_model(table, model)
        if self._stands_alone(table, model):
            # The way of most writes: no call in between that an event loop would have to wait for as well.
            scope = None if innermost_scope() is None else self._scope()
            executor = scope or (self._executor() if self._held_transactions else self._engine)
            sequences = await executor.write((Insert(model),))
            self._stored(scope, table, model, sequences[0])
            return model
        while not (sequence := await self._write_record(_insert(model))):
            stored = await self._stored_of_key(table, model)
            if stored is not None:
                return stored
        self._stored(self._scope(), table, model, sequence)
        return model

    def _stands_alone(self, table: Table[Any], model: Any) -> bool:
        """Tell whether nothing needs to be looked up or written along with a new record."""
        return not table.has_key or model.idempotency_key is None

    async def _store_all(self, models: Sequence[M]) -> list[M]:
        """Store new records as one, and return them, or in their places the stored ones of their keys."""
        if not models:
            return []
        sequences = await self._write_records([_insert(model) for model in models])
        scope = self._scope()
        for model, sequence in zip(models, sequences, strict=True):
            if sequence:
                self._stored(scope, table_of(type(model)), model, sequence)
        if all(sequences):
            return [*models]
        return [
            model if sequence else await self._stored_of_key(table, model) or await self._store(table, model)
            for model, sequence in zip(models, sequences, strict=True)
            for table in (table_of(type(model)),)
        ]

    async def _stored_of_key(self, table: Table[M], model: M) -> M | None:
        key = text(getattr(model, "idempotency_key", None), f"{table.label}.idempotency_key")
        found = await self._executor().read(Select(Query(table, (Condition("idempotency_key", "=", key),), limit=1)))
        return found[0] if found else None

    async def _save(self, table: Table[M], model: M) -> None:
        self._require_model(table, model)
        if not await self._write_record(Save(model)):
            await self._raise_stale(table, model)
        self._rewritten(self._scope(), table, model)

    async def _update(self, table: Table[M], model: M, is_forced: bool = False) -> None:
        self._require_model(table, model)
        version = await self._write_record(Replace(model, is_forced))
        if version is None:
            await self._raise_stale(table, model)
        self._rewritten(self._scope(), table, model, version)

    def _get(self, table: Table[M], id: str) -> Awaitable[M | None]:
        executor = self._engine if innermost_scope() is None else self._executor()
        return executor.read(Get(table, identifier(id, table.id_field)))

    async def _raise_stale(self, table: Table[M], model: M) -> NoReturn:
        stored: Any = await self._get(table, model.id)
        name = f"{table.label} {model.id!r}"
        if stored is None:
            raise NotFoundError(f"{name}; store it first")
        raise ConflictError(
            f"{name} has changed since it was read: version {stored.version} is stored, "
            f"and the copy to write has {getattr(model, 'version', None)}; read it again"
        )

    @staticmethod
    def _stored(scope: Scope | None, table: Table[Any], model: Any, sequence: int) -> None:
        """Tell the caller's object what the write made of it."""
        if table.is_versioned:
            if scope is not None:
                scope.remember(model, ("version",))
            model.version += 1
        elif table.is_numbered:
            if scope is not None:
                scope.remember(model, ("sequence",))
            model.sequence = sequence

    def _rewritten(self, scope: Scope | None, table: Table[Any], model: Any, version: int | None = None) -> None:
        if table.is_versioned:
            self._tell(scope, model, version=model.version + 1 if version is None else version)

    @staticmethod
    def _tell(scope: Scope | None, model: Model, **values: object) -> None:
        if scope is not None:
            scope.remember(model, values)
        for field, value in values.items():
            setattr(model, field, value)

    @classmethod
    def _require_model(cls, table: Table[Any], model: object) -> None:
        if type(model) is not table.model:
            cls._refuse_model(table, model)

    @staticmethod
    def _refuse_model(table: Table[Any], model: object) -> NoReturn:
        refuse(table.label, model, f"a {table.model.__name__}")

    def __del__(self) -> None:
        engine = getattr(self, "_engine", None)
        if engine is None or isinstance(engine, _NoEngine) or engine.is_ephemeral:
            return
        # At the interpreter's end, the other threads have stopped for good, with the locks that they hold.
        if not sys.is_finalizing():
            engine.abandon()
        if self._first is None:
            warnings.warn(f"{self!r} was dropped without close()", ResourceWarning, stacklevel=2, source=self)


def _insert(model: M) -> Insert[M]:
    has_key = getattr(model, "idempotency_key", None) is not None
    return Insert(model, "idempotency_key" if has_key else None)


NOW = FromNow()
"""What stamps a record: the time of the write, by the clock of the database where it has one of its own."""

TOUCHED: Mapping[str, Change] = {"updated_at": NOW, "version": Increment()}
"""The changes that come with every other one: when it was, and that the record has a new version."""


def by_id(table: Table[M], id: str) -> Query[M]:
    """Return the query for one record."""
    return Query(table, (Condition("id", "=", identifier(id, table.id_field)),))


class _NoEngine:
    """Stands in for the engine of a storage that can't be used, and says why to every call."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def __getattr__(self, name: str) -> NoReturn:
        raise ClosedError(self._reason)

    async def close(self) -> None:
        """Do nothing: there is nothing left to close."""


_storages: "weakref.WeakSet[StorageCore]" = weakref.WeakSet()
_inherited: list[Engine] = []
"""The engines of the process that this one was forked from. Even to close their files here could harm them there."""


def disable(storage: StorageCore, reason: str) -> None:
    """Let every further call raise `ClosedError`."""
    storage._engine = _NoEngine(reason)  # type: ignore[assignment]


def _disable_all_in_child() -> None:
    for storage in list(_storages):
        if storage._is_usable:
            _inherited.append(storage._engine)
            disable(storage, f"{storage!r} was opened by the process that this one was forked from; open it anew here")


if hasattr(os, "register_at_fork"):  # not in a browser
    os.register_at_fork(after_in_child=_disable_all_in_child)
