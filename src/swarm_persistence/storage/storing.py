"""Stores new records, and for tasks also the links to their dependencies."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from swarm_persistence.engines.reads import Select
from swarm_persistence.engines.steps import Delete, Increment, Insert, LockRows, Update
from swarm_persistence.errors import ConflictError, shown
from swarm_persistence.models import DocumentModel, KeyPolicy, Model, ScheduleModel, TaskModel, TaskStatus
from swarm_persistence.models.trace_parents import checked_trace_parent
from swarm_persistence.query.query import Condition, FromNow, Query, one_of
from swarm_persistence.query.task_statuses import FINISHED
from swarm_persistence.schema.tables import DOCUMENTS, TASKS, M, Table, table_of
from swarm_persistence.schema.values import accept_texts, text
from swarm_persistence.storage.core import StorageCore, id_of
from swarm_persistence.storage.dependencies import lock_to_link
from swarm_persistence.storage.documents import id_of as document_id_of
from swarm_persistence.storage.linked_tasks import (
    is_plain_task,
    linked_among,
    may_close_cycle,
    places_of_duplicates,
    steps_to_store,
    write_among_others,
    write_unless_awaited,
)
from swarm_persistence.storage.schedule_times import plan
from swarm_persistence.storage.scopes import Scope, innermost_scope

_PENDING = TaskStatus.PENDING


async def store(core: StorageCore, table: Table[M], model: M) -> M:
    """Store a new record and return it, or the stored record of its idempotency key."""
    if type(model) is not table.model:
        core._require_model(table, model)  # which refuses it
    new: Any = model
    has_key = table.has_key and new.idempotency_key is not None
    if has_key or (table is TASKS and (new.dependencies != [] or new.run_at is not None or new.status is not _PENDING)):
        return (await store_all(core, [model]))[0]
    if table is TASKS and new.trace_parent is not None:
        checked_trace_parent(new.trace_parent)
    scope = None if innermost_scope() is None else core._scope()
    executor = scope or (core._engine_outside() if core._held_transactions.scopes else core._engine)
    sequences = await executor.write((Insert(model),))
    if scope is not None:
        _note_stored(scope, table, model, sequences[0])
    elif table.is_versioned:
        new.version += 1
    elif table.is_numbered:
        new.sequence = sequences[0]
    return model


async def store_all(core: StorageCore, models: Sequence[M]) -> list[M]:
    """Store new records atomically, and return them; a duplicate is replaced by the stored record of its key."""
    if TaskModel in {*map(type, models)}:
        for model in models:
            if isinstance(model, TaskModel):
                checked_trace_parent(model.trace_parent)
    return await store_copies(core, models)


async def store_copies(core: StorageCore, models: Sequence[M]) -> list[M]:
    """Store records of another storage as new ones; a `trace_parent` that an earlier release took may be malformed."""
    # Most calls store records of one kind, thousands of them: what concerns other kinds is not asked of each.
    tables: dict[type[Model], Table[Any]] = {kind: table_of(kind) for kind in dict.fromkeys(map(type, models))}
    for model in models if any(table.choices for table in tables.values()) else ():
        accept_texts(tables[type(model)], model)
    for model in models if ScheduleModel in tables else ():
        plan(model)
    documents: Any = models if DocumentModel in tables else ()
    ids = [document_id_of(model) for model in documents if isinstance(model, DocumentModel)]
    has_keyed_tasks = TaskModel in tables and any(map(is_keyed, models))
    # A key may turn out to belong to another kind of task only once the other records are written.
    if not ids and (len(models) == 1 or not has_keyed_tasks):
        stored = await _store_all(core, tables, models, releases=False)
        if stored is not None:
            return stored
    expired = Query(DOCUMENTS, (one_of("id", ids), Condition("expires_at", "<=", FromNow()))) if ids else None

    async def store_as_one() -> list[M]:
        if expired is not None:
            await core._executor().write([Delete(expired)])
        return cast(list[M], await _store_all(core, tables, models, releases=True))

    return await core._as_one(store_as_one)


async def _store_all(
    core: StorageCore, tables: Mapping[type[Model], Table[Any]], models: Sequence[M], *, releases: bool
) -> list[M] | None:
    """Store new records. If an ended task has the key of one and may not be made to release it, return `None`.

    The key is released only together with storing the new task, which may still be refused.
    """
    stored: list[M] = [*models]
    left = [*range(len(models))]
    own: dict[str, TaskModel] = {}
    while left:
        sequences = await _write(core, [_insert(models[place]) for place in left])
        scope = core._scope()
        duplicates = []
        for place, sequence in zip(left, sequences, strict=True):
            if sequence:
                model = models[place]
                _note_stored(scope, tables[type(model)], model, sequence)
            else:
                duplicates.append(place)
        left = []
        for place in duplicates:
            found = await _stored_of_key(core, models[place])
            # Otherwise it was deleted in between.
            if found is not None and keeps_key(found):
                require_same(models[place], found)
                stored[place] = found
                continue
            if found is not None:
                if not releases:
                    return None
                await release_key(core, found)
                own = own or {model.id: model for model in models if isinstance(model, TaskModel)}
                _note_released(scope, own.get(found.id))
            left.append(place)
    return stored


def _insert(model: M) -> Insert[M]:
    has_key = getattr(model, "idempotency_key", None) is not None
    return Insert(model, "idempotency_key" if has_key else None)


async def _write(core: StorageCore, inserts: Sequence[Insert[Any]]) -> list[Any]:
    """Insert records, and the links of the tasks among them; return the sequence of each, 0 for a duplicate."""
    if TaskModel not in {type(step.model) for step in inserts}:
        return await core._executor().write(inserts)
    linked = linked_among(inserts)
    if not linked:
        return (await core._executor().write(steps_to_store(inserts)))[: len(inserts)]
    lock = lock_to_link(linked, own=(id_of(step.model) for step in inserts if is_plain_task(step)))
    results = None
    if not may_close_cycle(inserts, linked):
        results = await write_unless_awaited(core, lock, steps_to_store(inserts), linked)
    if results is None:
        results = await _write_new(core, lock, inserts)
    return results[: len(inserts)]


async def _write_new(core: StorageCore, lock: LockRows, inserts: Sequence[Insert[Any]]) -> list[Any]:
    """Insert the records whose key is not stored, atomically; the result of the others is 0.

    A duplicate stores nothing: its dependencies neither close a cycle nor hide one of the record with the same key.
    """

    async def write() -> list[Any]:
        await core._executor().write([lock])
        known = await places_of_duplicates(core._executor(), inserts)
        new = [step for place, step in enumerate(inserts) if place not in known]
        results = iter(await write_among_others(core, steps_to_store(new), linked_among(new)) if new else ())
        return [0 if place in known else next(results) for place in range(len(inserts))]

    return await core._as_one(write)


async def _stored_of_key(core: StorageCore, model: M) -> M | None:
    table = table_of(type(model))
    key = text(getattr(model, "idempotency_key", None), f"{table.label}.idempotency_key")
    query = Query(table, (Condition("idempotency_key", "=", key),), limit=1)
    found = await core._executor().read(Select(query))
    return found[0] if found else None


def _note_released(scope: Scope | None, model: TaskModel | None) -> None:
    """Clear the key of the caller's object, if the task that has released it was stored by this very call."""
    if model is not None:
        if scope is not None:
            scope.remember(model, ("idempotency_key", "version"))
        model.idempotency_key = None
        model.version += 1


def _note_stored(scope: Scope | None, table: Table[Any], model: Any, sequence: int) -> None:
    """Set the version or sequence of the caller's object after the write."""
    if table.is_versioned:
        if scope is not None:
            scope.remember(model, ("version",))
        model.version += 1
    elif table.is_numbered:
        if scope is not None:
            scope.remember(model, ("sequence",))
        model.sequence = sequence


def is_keyed(model: Model) -> bool:
    """Tell whether a record is a task with an idempotency key."""
    return isinstance(model, TaskModel) and model.idempotency_key is not None


def keeps_key(found: Model) -> bool:
    """Tell whether a stored record keeps its key; an ended task with the policy `while_active` does not."""
    return not (
        isinstance(found, TaskModel) and found.key_policy is KeyPolicy.WHILE_ACTIVE and found.status in FINISHED
    )


async def release_key(core: StorageCore, found: Model) -> None:
    """Remove the key of an ended task, unless it has become active since it was read."""
    has_ended = one_of("status", [status.value for status in FINISHED])
    ended = Query(TASKS, (Condition("id", "=", found.id), has_ended))
    await core._write_one(Update(ended, {"idempotency_key": None, "version": Increment()}))


def require_same(model: Model, found: Model) -> None:
    """Raise `ConflictError` if the stored task of a key differs in type or payload from the new one."""
    if not isinstance(model, TaskModel) or not isinstance(found, TaskModel):
        return
    for field in ("task_type", "payload"):
        given, stored = getattr(model, field), getattr(found, field)
        if given != stored:
            raise ConflictError(
                f"task {model.id!r} has the idempotency_key {model.idempotency_key!r} of the stored task {found.id!r}, "
                f"but its {field} is {shown(given)} and not {shown(stored)}; use another key"
            )
