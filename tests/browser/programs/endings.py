"""Storages that are closed while something is in flight."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from swarm_persistence import Storage, TaskModel
from swarm_persistence.backends.wasm import WasmStorage

from .callers import TIMEOUT_SECONDS, elsewhere, outcome


def engine_of(storage: WasmStorage) -> Any:
    """Return the engine, to look into it: what is in flight just now cannot be told from outside."""
    return storage._engine


async def until(is_so: Callable[[], Any]) -> None:
    """Let the event loop go on until something is so; `TimeoutError` if that takes too long."""
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while not is_so():  # noqa: ASYNC110 - it must be noticed before anything else happens
            await asyncio.sleep(0)


async def cancel_a_write_and_close(name: str) -> Any:
    """Cancel a write that is in flight, close its storage, and return what a caller that waits for a task gets."""

    async def write(storage: Storage) -> None:
        await storage.store_task(TaskModel(id="task", task_type="x"))

    return await _cancel_and_close(name, write, lambda engine: engine._writes.is_running)


async def cancel_a_commit_and_close(name: str) -> Any:
    """Do the same with the commit of a transaction."""

    async def write(storage: Storage) -> None:
        async with storage.transaction():
            await storage.store_task(TaskModel(id="task", task_type="x"))

    return await _cancel_and_close(name, write, lambda engine: engine._session is not None and engine._session._is_over)


async def _cancel_and_close(
    name: str, write: Callable[[Storage], Coroutine[Any, Any, None]], is_under_way: Callable[[Any], bool]
) -> Any:
    waiting, closing = await WasmStorage.open(name), await WasmStorage.open(name)
    claim = elsewhere(waiting.claim_next_task("agent-1", wait=10 * TIMEOUT_SECONDS))
    await until(lambda: any(watch._waiters for watch in engine_of(waiting)._watches._watches))
    writing = elsewhere(write(closing))
    await until(lambda: is_under_way(engine_of(closing)))
    writing.cancel()
    await closing.close()
    await asyncio.gather(writing, return_exceptions=True)
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            task = await claim
    except TimeoutError:
        return "no event has told of it"
    await waiting.close()
    return task and task.id


async def begin_and_close(name: str) -> str:
    """Wait in vain to begin a transaction, close the storage meanwhile, and return how the waiting ended."""
    async with await WasmStorage.open(name) as holding, holding.transaction():
        waiting = await WasmStorage.open(name)
        begin = elsewhere(waiting.begin_transaction())
        await waiting.get_task("task")  # by now, it has asked for its turn
        await waiting.close()
        return await outcome(begin)


async def delete_open_database(name: str) -> list[Any]:
    """Delete a database that is open, and return the error of its storage, and what is in the database afterwards."""
    from js import indexedDB  # type: ignore[import-not-found]

    async with await WasmStorage.open(name) as storage:
        await storage.store_task(TaskModel(id="task", task_type="x"))
        indexedDB.deleteDatabase(name)
        async with await WasmStorage.open(name) as new:
            ids = [task.id for task in await new.repository(TaskModel).find_all()]
        return [await outcome(storage.get_task("task")), ids]
