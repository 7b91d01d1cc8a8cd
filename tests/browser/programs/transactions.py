"""What the storage does with IndexedDB: its transactions, looked at as they begin, and another way to read."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

from swarm_persistence import EventModel, Storage, TaskModel
from swarm_persistence.backends.wasm import WasmStorage
from swarm_persistence.engines.rows.indexeddb.bridge import script


@contextmanager
def seen() -> Iterator[Any]:
    """Give the list of the transactions that begin meanwhile: what each may do, and when it counts as durable."""
    from pyodide.code import run_js  # type: ignore[import-not-found]

    transactions, set_back = run_js("""(() => {
      const seen = [];
      const { transaction } = IDBDatabase.prototype;
      IDBDatabase.prototype.transaction = function (...details) {
        const begun = transaction.apply(this, details);
        seen.push(`${begun.mode} ${begun.durability}`);
        return begun;
      };
      return [seen, () => { IDBDatabase.prototype.transaction = transaction; }];
    })()""")
    try:
        yield transactions
    finally:
        set_back()


async def of_each_kind(name: str, durability: Literal["relaxed", "strict"]) -> list[list[str]]:
    """Return the transactions of a write, of a transaction with a write, and of a checkpoint."""
    async with await WasmStorage.open(name, durability=durability) as storage:
        with seen() as of_write:
            await storage.store_task(TaskModel(id="1", task_type="x"))
        with seen() as of_block:
            async with storage.transaction():
                await storage.store_task(TaskModel(id="2", task_type="x"))
        with seen() as of_checkpoint:
            await storage.checkpoint()
        return [list(of_write), list(of_block), list(of_checkpoint)]


async def of_writes_at_once(name: str, number: int) -> list[str]:
    """Return the transactions of so many writes that wait together."""
    async with await WasmStorage.open(name) as storage:
        with seen() as transactions:
            await asyncio.gather(
                *(storage.store_task(TaskModel(id=str(place), task_type="x")) for place in range(number))
            )
        return list(transactions)


async def newest_first(name: str) -> list[list[list[str]]]:
    """Return what some backward reads find, first in this browser's way, then in that of one which is older."""
    from pyodide.code import run_js

    async with await WasmStorage.open(name) as storage:
        for place in range(60):
            await storage.store_event(EventModel(id=f"{place:02}", event_type="odd" if place % 2 else "even"))
        here = await _backwards(storage)
    set_back = run_js("""(() => {
      const { getAllRecords } = IDBIndex.prototype;
      delete IDBIndex.prototype.getAllRecords;
      return () => Object.assign(IDBIndex.prototype, { getAllRecords });
    })()""")
    script.cache_clear()
    try:
        async with await WasmStorage.open(name) as storage:
            return [here, await _backwards(storage)]
    finally:
        set_back()
        script.cache_clear()


async def _backwards(storage: Storage) -> list[list[str]]:
    found = [await storage.get_events_by_type(kind, limit) for kind in ("odd", "even") for limit in (1, 7, 30, 100)]
    return [[event.id for event in events] for events in found]
