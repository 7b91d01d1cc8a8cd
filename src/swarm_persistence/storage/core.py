"""The base class of all verbs: the engine, the transaction that a call joins, and reads of one record by its id."""

import os
import sys
import warnings
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from functools import cache
from typing import Any, NoReturn, Protocol, Self, TypeVar, cast

from swarm_persistence.engines.interface import Engine, Executor
from swarm_persistence.engines.reads import Get
from swarm_persistence.engines.steps import Change, Increment, Step
from swarm_persistence.errors import ClosedError, NotFoundError, TransactionError
from swarm_persistence.models import Model, TaskModel
from swarm_persistence.query.query import Condition, FromNow, Query
from swarm_persistence.schema.tables import TASKS, M, Table
from swarm_persistence.schema.values import identifier, refuse
from swarm_persistence.storage import transactions
from swarm_persistence.storage.feeds import Feeds
from swarm_persistence.storage.held_transactions import GuardedEngine, HeldTransactions
from swarm_persistence.storage.pickling import NotPicklable
from swarm_persistence.storage.scopes import Scope, find_scope, innermost_scope
from swarm_persistence.storage.transactions import ATTEMPTS, Transaction, TransactionBlock


class Instrumentation(Protocol):
    """Observes a storage and the workers on it."""

    def around(self, handle: Callable[[TaskModel], Awaitable[Any]], agent_id: str) -> Callable[[TaskModel], Any]:
        """Return a handler that is observed."""
        ...

    def continuing(self, trace_parent: str) -> AbstractContextManager[None]:
        """Return a context in which calls belong to a trace that began elsewhere, unless they have a trace already."""
        ...

    def completed(self, tasks: list[TaskModel], started_at: int) -> None:
        """Note tasks that a write, begun at so many nanoseconds since 1970, has completed without giving them."""
        ...

    def requeued(self, task_count: int) -> None:
        """Note tasks that were requeued: their lease has expired, or their agent is lost."""
        ...


T = TypeVar("T")


class StorageCore(NotPicklable):
    """The base class of the verbs of each noun; users see it as `Storage`."""

    _first: "Self | None" = None
    """For the storage of another schema: the one that was opened first, whose `close` also closes this one."""

    database_system = "other"
    """The name of the database for traces, from OpenTelemetry's list if it has one."""
    instrumentation: Instrumentation | None = None
    """The observer of the storage and its workers; see `swarm_persistence.telemetry`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._schema_name = engine.schema_name
        self._held_transactions = HeldTransactions()
        self._feeds = Feeds()
        self._is_choosing = False
        """Whether claims must choose, as limits or required capabilities exclude some of the first tasks."""
        _storages.add(self)

    @property
    def schema_name(self) -> str:
        """Return the name of the schema that holds the records; `swarm` by default."""
        return self._schema_name

    @property
    def engine(self) -> Engine:
        """Return the engine below the verbs, for tools and tests of engine authors."""
        return self._engine

    @property
    def _is_usable(self) -> bool:
        """Whether the storage is open and belongs to this process."""
        return not isinstance(self._engine, _NoEngine)

    def _executor(self) -> Executor:
        if innermost_scope() is None and not self._held_transactions.scopes:
            return self._engine  # the common case
        return self._scope() or self._engine_outside()

    def _engine_outside(self) -> Engine:
        """Return the engine for calls outside of a transaction, guarded while callers hold transactions."""
        if not self._held_transactions.scopes:
            return self._engine
        guarded: Any = GuardedEngine(self._engine, self._held_transactions)
        return cast(Engine, guarded)

    def _begin(self) -> Coroutine[Any, Any, Transaction]:
        """Bind a new transaction to the calling context; the coroutine opens it."""
        engine = self._engine
        if self._held_transactions.scopes and self._scope() is None:
            self._held_transactions.refuse_transaction()
            engine = self._engine_outside()
        return transactions.begin(Scope(self, engine), self._held_transactions)

    def _scope(self) -> Scope | None:
        if innermost_scope() is None:
            return None
        # A closed storage has no open transaction; its engine raises ClosedError.
        return find_scope(self) if self._is_usable else None

    async def _write_one(self, step: Step) -> Any:
        return (await self._executor().write((step,)))[0]

    def _require_no_transaction(self, verb: str) -> None:
        # It would wait for the write lock, which its own caller holds.
        if self._scope() is not None:
            raise TransactionError(f"{verb} is not possible within a transaction; call it after commit or rollback")

    async def _as_one(self, work: Callable[[], Awaitable[T]]) -> T:
        """Run `work` in a transaction; retry all of it if the transaction collides with another one."""

        if self._held_transactions.scopes and self._scope() is None:
            self._held_transactions.refuse_write()

        def block() -> TransactionBlock:
            return TransactionBlock(self._begin)

        return await transactions.run(block, work, self._pauses(ATTEMPTS))

    def _pauses(self, attempts: int) -> Iterator[float]:
        """Yield the pauses between the attempts of a transaction. A nested transaction is not retried."""
        return transactions.pauses(attempts if self._scope() is None else 1)

    def _get(self, table: Table[M], id: str) -> Awaitable[M | None]:
        executor = self._engine if innermost_scope() is None else self._executor()  # reads need no guard
        return executor.read(Get(table, identifier(id, table.id_field)))

    async def _existing(self, table: Table[M], id: str) -> M:
        """Return the record; raise `NotFoundError` if there is none with this id."""
        record = await self._get(table, id)
        if record is None:
            raise NotFoundError(f"{table.label} {id!r}")
        return record

    def _set_fields(self, model: Model, **values: object) -> None:
        """Set fields of the caller's object; a rollback of the transaction restores them."""
        if innermost_scope() is not None and (scope := self._scope()) is not None:
            scope.remember(model, values)
        for field, value in values.items():
            setattr(model, field, value)

    async def _refresh_claims(self, task: TaskModel) -> None:
        """Set the claim fields of the caller's object to the stored ones, which an update does not overwrite."""
        stored = await self._get(TASKS, task.id)
        if stored is not None and stored.version == task.version:
            self._set_fields(task, claim_count=stored.claim_count, past_claims=stored.past_claims)

    def _refresh(self, model: M, stored: M) -> None:
        """Set all fields of the caller's object, as `_set_fields` does."""
        if innermost_scope() is not None and (scope := self._scope()) is not None:
            scope.remember(model, model.__struct_fields__)
        _copier_of(type(model))(model, stored)

    def _set_all(self, models: Iterable[Model], field: str, value: object) -> None:
        """Set a field of many of the caller's objects, as `_set_fields` does."""
        if innermost_scope() is None:
            for model in models:
                setattr(model, field, value)
        else:
            for model in models:
                self._set_fields(model, **{field: value})

    @staticmethod
    def _require_model(table: Table[Any], model: object) -> None:
        if type(model) is not table.model:
            refuse(table.label, model, f"a {table.model.__name__}")

    def __del__(self) -> None:
        engine = getattr(self, "_engine", None)
        if engine is None or isinstance(engine, _NoEngine) or engine.is_ephemeral:
            return
        # At interpreter exit, other threads have stopped and never release their locks.
        if not sys.is_finalizing():
            engine.abandon()
        if self._first is None:
            warnings.warn(f"{self!r} was dropped without close()", ResourceWarning, stacklevel=2, source=self)


NOW = FromNow()
"""The timestamp of a write, from the database server's clock if there is one."""

TOUCHED: Mapping[str, Change] = {"updated_at": NOW, "version": Increment()}
"""The changes that accompany every other change of a versioned record."""


def by_id(table: Table[M], id: str) -> Query[M]:
    """Return the query for the record of this id."""
    return Query(table, (Condition("id", "=", identifier(id, table.id_field)),))


def id_of(task: TaskModel) -> str:
    """Return a task's id; raises `SerializationError` for an invalid id, or for an argument that is not a task."""
    if type(task) is not TaskModel:
        refuse(TASKS.label, task, "a TaskModel")
    return identifier(task.id, TASKS.id_field)


class _NoEngine:
    """Replaces the engine of a storage that cannot be used; every call raises `ClosedError` with the reason."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def __getattr__(self, name: str) -> NoReturn:
        raise ClosedError(self._reason)

    async def close(self) -> None:
        """Do nothing: the storage is closed already."""


_storages: "weakref.WeakSet[StorageCore]" = weakref.WeakSet()
_inherited: list[Engine] = []
"""Engines of the parent process, kept alive after a fork: closing their files here could damage them there."""


def disable(storage: StorageCore, reason: str) -> None:
    """Make every further call raise `ClosedError` with this reason."""
    storage._engine = _NoEngine(reason)  # type: ignore[assignment]


def _disable_all_in_child() -> None:
    for storage in list(_storages):
        if storage._is_usable:
            _inherited.append(storage._engine)
            disable(storage, f"{storage!r} was opened by the process that this one was forked from; open it anew here")


if hasattr(os, "register_at_fork"):  # not in a browser
    os.register_at_fork(after_in_child=_disable_all_in_child)


@cache
def _copier_of(model: type[Model]) -> Callable[[Any, Any], None]:
    """Return the function that sets the fields of its first record to those of its second: faster than a loop."""
    lines = [f"    target.{name} = source.{name}" for name in model.__struct_fields__]
    names: dict[str, Any] = {}
    exec(compile("\n".join(["def copy(target, source):", *lines]), f"<copying of {model.__name__}>", "exec"), names)
    copier: Callable[[Any, Any], None] = names["copy"]
    return copier
