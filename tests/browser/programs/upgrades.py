"""A database of one version of the code, met by the code of another."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from swarm_persistence import StorageError, TaskModel
from swarm_persistence.backends.wasm import WasmStorage
from swarm_persistence.engines.rows.indexeddb.engine import IndexedDbSettings
from swarm_persistence.engines.rows.indexeddb.schema import VERSIONS, StoreSchema
from swarm_persistence.schema.tables import TABLES, TASKS, Index, Table

_LATER_INDEXES = (*TASKS.indexes, Index("tasks_by_type", ("task_type",)))
_LATER_TASKS = Table("tasks", TaskModel, *_LATER_INDEXES, hidden=TASKS.hidden[:-1], is_followed=True)
# Version 1, whose pending and ready tasks came by `created_at`.
_FIRST_INDEXES = [
    msgspec.structs.replace(index, columns=(*index.columns, "created_at")) if "-priority" in index.columns else index
    for index in TASKS.indexes
]
_FIRST_TASKS = Table("tasks", TaskModel, *_FIRST_INDEXES, hidden=TASKS.hidden[:-1], is_followed=True)
FIRST = StoreSchema(VERSIONS[:1], tuple(_FIRST_TASKS if table is TASKS else table for table in TABLES))
LATER = StoreSchema((*VERSIONS, "later"), tuple(_LATER_TASKS if table is TASKS else table for table in TABLES))

_open: dict[str, Any] = {}


async def open_and_store(name: str, number: int) -> None:
    """Open the database with the code of today, store tasks, and leave it open, with a transaction on its way."""
    storage = _open["storage"] = await WasmStorage.open(name)
    await storage.store_many([TaskModel(id=f"task-{place}", task_type=f"type-{place % 3}") for place in range(number)])


async def store_with_first_code(name: str, number: int) -> int:
    """Store tasks with stores of version 1, each with an earlier time than the one before; return the version."""
    async with await WasmStorage._open(name, IndexedDbSettings(schema=FIRST)) as storage:
        moment = datetime(2026, 1, 1, tzinfo=UTC)
        times = [moment - timedelta(seconds=place) for place in range(number)]
        await storage.store_many(
            [TaskModel(id=f"task-{place}", task_type="x", created_at=time) for place, time in enumerate(times)]
        )
        return (await storage.migration_status()).version


async def claim_all(name: str, number: int) -> list[Any]:
    """Open the database with the code of today; return its steps, and the ids in the order of claims and lists."""
    async with await WasmStorage.open(name) as storage:
        steps = [step.name for step in (await storage.migration_status()).applied]
        pending = [task.id for task in await storage.get_pending_tasks()]
        claimed = [task.id for task in await storage.claim_next_tasks("agent", limit=number, task_types=["x", "y"])]
        return [steps, pending, claimed]


async def begin() -> None:
    """Begin a transaction in the open storage, store something in it, and leave it open."""
    _open["transaction"] = await _open["storage"].begin_transaction()
    await _open["storage"].store_task(TaskModel(id="of the old page", task_type="x"))
    await asyncio.Event().wait()


async def has_begun() -> bool:
    """Tell whether the transaction is open."""
    return "transaction" in _open


async def use_open_storage() -> str:
    """Call the storage that was left open, and return its error."""
    try:
        await _open["storage"].get_task("task-0")
    except StorageError as error:
        return f"{type(error).__name__}: {error}"
    return ""


async def open_again(name: str) -> str:
    """Open the database with the code of today, and return the error."""
    try:
        await WasmStorage.open(name)
    except StorageError as error:
        return f"{type(error).__name__}: {error}"
    return ""


async def give_up_opening(name: str, turns: int) -> None:
    """Open the database, and be cancelled after so many turns of the loop."""
    opening = asyncio.create_task(WasmStorage.open(name))
    for _ in range(turns):
        await asyncio.sleep(0)
    opening.cancel()
    await asyncio.gather(opening, return_exceptions=True)


async def open_with_later_code(name: str, seconds: float) -> list[Any]:
    """Open the database with the code of tomorrow, and return its ids, versions and names of steps, or the error."""
    try:
        storage = await WasmStorage._open(name, IndexedDbSettings(connection_timeout=seconds, schema=LATER))
    except StorageError as error:
        return [f"{type(error).__name__}: {error}"]
    async with storage:
        tasks = await storage.repository(TaskModel).find_all()
        await storage.store_task(TaskModel(id="of the new page", task_type="x"))
        status = await storage.migration_status()
        return [[task.id for task in tasks], status.version, [step.name for step in status.applied]]
