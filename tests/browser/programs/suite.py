"""The conformance suite, run inside the page."""

import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from swarm_persistence.backends.wasm import WasmStorage
from swarm_persistence.storage import Storage


@asynccontextmanager
async def open_storage() -> AsyncIterator[Storage]:
    """Open a fresh storage in the browser, and delete it afterwards."""
    from js import crypto, indexedDB  # type: ignore[import-not-found]

    name = f"suite-{crypto.randomUUID()}"
    async with await WasmStorage.open(name) as storage:
        yield storage
    indexedDB.deleteDatabase(name)


async def run(classes: list[str]) -> list[Any]:
    """Try all facts of some classes, and return the name of each, and what went wrong."""
    from swarm_persistence import testing

    facts = [cls for cls in testing.CORE if cls.__name__ in classes]
    return [
        [ascii(name), None if error is None else "".join(traceback.format_exception(error))]
        async for name, error in testing.run_suite(open_storage, facts)
    ]
