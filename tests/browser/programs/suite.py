"""The conformance suite, run inside the page."""

import asyncio
import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

from swarm_persistence.backends.wasm import WasmStorage
from swarm_persistence.storage import Storage

_EMPTY = """(name) => new Promise((resolve, reject) => {
  const request = indexedDB.open(name);
  request.onerror = () => reject(request.error);
  request.onsuccess = () => {
    const database = request.result;
    const stores = [...database.objectStoreNames];
    const transaction = database.transaction(stores, "readwrite");
    for (const store of stores) if (store !== "meta") transaction.objectStore(store).clear();
    transaction.objectStore("meta").put({ id: "state", d: "[0,{}]" });
    transaction.onabort = () => reject(transaction.error);
    transaction.oncomplete = () => { database.close(); resolve(); };
  };
})"""
_emptied: list[str] = []
_emptying: set[Any] = set()


@asynccontextmanager
async def open_storage() -> AsyncIterator[Storage]:
    """Open an empty storage in the browser. To make a database takes four times as long as to empty one."""
    name = _emptied.pop() if _emptied else f"suite-{uuid4()}"
    async with await WasmStorage.open(name) as storage:
        yield storage
    emptying = asyncio.ensure_future(_empty(name))
    _emptying.add(emptying)
    emptying.add_done_callback(_emptying.discard)


async def _empty(name: str) -> None:
    from pyodide.code import run_js  # type: ignore[import-not-found]

    await run_js(_EMPTY)(name)
    _emptied.append(name)


async def run(names: list[str]) -> list[Any]:
    """Try some facts, and return the name of each of their cases, and what went wrong."""
    import swarm_persistence_conformance as conformance

    wanted = set(names)
    facts = [_with_facts(cls, wanted) for cls in conformance.CORE]
    return [
        [ascii(name), None if error is None else "".join(traceback.format_exception(error))]
        async for name, error in conformance.run_suite(open_storage, facts)
    ]


def _with_facts(cls: type, wanted: set[str]) -> type:
    others = [name for name in dir(cls) if name.startswith("test_") and f"{cls.__name__}.{name}" not in wanted]
    return type(cls.__name__, (cls,), dict.fromkeys(others))


async def agree(name: str) -> None:
    """Compare the storage with memory or with a plain model, by as many random examples as a page has time for."""
    # Where an event loop runs already, the browser's engine lets one wait for another.
    import swarm_persistence_conformance as conformance
    from swarm_persistence_conformance.agreement import open_memory

    comparisons: dict[str, Callable[[], None]] = {
        "operations": lambda: conformance.assert_storages_agree(open_memory, open_storage, 4),
        "queries": lambda: conformance.assert_queries_agree(open_memory, open_storage, 25),
        "verbs of tasks": lambda: conformance.assert_tasks_match_model(open_storage, 4),
    }
    comparisons[name]()
