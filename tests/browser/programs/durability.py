"""What is kept, and what does not fit."""

import asyncio
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from swarm_persistence import EventModel, Storage, StorageError, TaskModel, TaskStatus, init_storage
from swarm_persistence.backends.wasm import WasmStorage

from .callers import elsewhere, outcome

_open: dict[str, Any] = {}
_is_holding = asyncio.Event()


async def work(target: str | None) -> None:
    """Do some work of a swarm."""
    async with await init_storage(target) as storage:
        await storage.store_many([TaskModel(id=f"task-{place}", task_type="x", payload=2**70) for place in range(3)])
        await storage.claim_task("task-1", "agent-1")
        async with storage.transaction():
            await storage.store_event(EventModel(id="event-1", event_type="x", data=[None, 1.0, 1, True]))


async def look(target: str | None) -> Any:
    """Return what is left of it."""
    async with await init_storage(target) as storage:
        tasks = await storage.repository(TaskModel).find_all()
        events = await storage.get_events_by_type("x", 10)
        claimed = [task.id for task in tasks if task.status is TaskStatus.ASSIGNED]
        return [repr(storage), [task.payload == 2**70 for task in tasks], claimed, [event.data for event in events]]


def incompressible(size: int) -> str:
    """Return a text that the browser cannot make much smaller."""
    return random.Random(size).randbytes(size // 2).hex()


async def fill(name: str, size: int) -> list[Any]:
    """Store one small task, then large ones until that is refused; return the error, and what is there."""
    async with await WasmStorage.open(name) as storage:
        await storage.store_task(TaskModel(id="small", task_type="x", payload="kept"))
        number = 0
        error = None
        while error is None:
            try:
                await storage.store_task(TaskModel(id=f"large-{number}", task_type="x", payload=incompressible(size)))
                number += 1
            except StorageError as refusal:
                error = refusal
        refused = await storage.get_task(f"large-{number}")
        small = await storage.get_task("small")
        assert small is not None
        for place in range(number):
            await storage.repository(TaskModel).delete(f"large-{place}")
        ids = [task.id for task in await storage.repository(TaskModel).find_all()]
        return [type(error).__name__, str(error), number, refused, small.payload, ids]


async def fill_in_a_transaction(name: str, size: int) -> list[Any]:
    """Store in a transaction what does not fit; return the error, and what is there."""
    async with await WasmStorage.open(name) as storage:
        await storage.store_task(TaskModel(id="small", task_type="x"))
        try:
            async with storage.transaction():
                await storage.store_task(TaskModel(id="first", task_type="x"))
                await storage.store_task(TaskModel(id="second", task_type="x", payload=incompressible(size)))
        except StorageError as error:
            ids = [task.id for task in await storage.repository(TaskModel).find_all()]
            return [type(error).__name__, str(error), ids]
        return []


async def fill_at_once(name: str, size: int) -> list[Any]:
    """Store some small tasks and a large one at once; return how these calls end, and what is there."""
    tasks = [TaskModel(id=f"small-{number}", task_type="x") for number in range(4)]
    tasks[2] = TaskModel(id="large", task_type="x", payload=incompressible(size))
    async with await WasmStorage.open(name) as storage:
        outcomes = await asyncio.gather(*[outcome(storage.store_task(task)) for task in tasks])
        return [outcomes, [task.id for task in await storage.repository(TaskModel).find_all()]]


async def delete_without_room(name: str) -> list[Any]:
    """Delete tasks when there is room for nothing new; return how a write and the deletions end, and what is left."""
    async with await WasmStorage.open(name) as storage:
        tasks = storage.repository(TaskModel)
        await storage.store_many([TaskModel(id=str(number), task_type="x") for number in range(6)])

        async def delete_two() -> None:
            async with storage.transaction():
                await tasks.delete("3")
                await tasks.delete("4")

        with without_room():
            outcomes = [
                await outcome(storage.store_task(TaskModel(id="new", task_type="x"))),
                await outcome(tasks.delete("0")),
                await outcome(asyncio.gather(tasks.delete("1"), tasks.delete("2"))),
                await outcome(delete_two()),
            ]
        return [*outcomes, [task.id for task in await tasks.find_all()]]


@contextmanager
def without_room() -> Iterator[None]:
    """Let there be no room, not even to remember that there was a commit: a real quota leaves some crumbs."""
    from pyodide.code import run_js  # type: ignore[import-not-found]

    set_back = run_js("""(() => {
      const { put } = IDBObjectStore.prototype;
      const { commit } = IDBTransaction.prototype;
      delete IDBTransaction.prototype.commit;
      IDBObjectStore.prototype.put = function (record) {
        const request = put.call(this, record);
        if (this.name === "meta") request.onsuccess = () => {
          Object.defineProperty(this.transaction, "error", { value: new DOMException("", "QuotaExceededError") });
          this.transaction.abort();
        };
        return request;
      };
      return () => {
        Object.assign(IDBObjectStore.prototype, { put });
        Object.assign(IDBTransaction.prototype, { commit });
      };
    })()""")
    try:
        yield
    finally:
        set_back()


async def open_for_long(name: str) -> None:
    """Open a storage, and leave it open."""
    _open["storage"] = await WasmStorage.open(name)
    await _open["storage"].store_task(TaskModel(id="task", task_type="x"))


async def call_open_storage() -> str:
    """Call the storage that was left open, and return its error."""
    try:
        await _open["storage"].get_task("task")
    except StorageError as error:
        return f"{type(error).__name__}: {error}"
    return ""


async def is_lost() -> bool:
    """Tell whether the storage that was left open is of no more use."""
    return bool(await call_open_storage())


async def wait_to_write(name: str) -> None:
    """Let a write and a transaction wait for another one, which does not end."""
    waiting, holding = await WasmStorage.open(name), await WasmStorage.open(name)
    holder = elsewhere(hold(holding))
    await _is_holding.wait()
    write = elsewhere(waiting.store_task(TaskModel(id="task", task_type="x")))
    begin = elsewhere(waiting.begin_transaction())
    _open["waiting"] = holder, waiting, write, begin
    await waiting.get_task("task")  # by now, both have asked for their turn


async def hold(storage: Storage) -> None:
    """Keep a transaction open."""
    async with storage.transaction():
        _is_holding.set()
        await asyncio.Event().wait()


async def what_came_of_waiting() -> list[str]:
    """Return how the calls that waited have ended, and how it ends to close their storage."""
    _, storage, write, begin = _open["waiting"]
    return [await outcome(write), await outcome(begin), await outcome(storage.close())]


async def room(name: str) -> list[Any]:
    """Return what the storage and the browser say of room."""
    async with await WasmStorage.open(name) as storage:
        await storage.store_task(TaskModel(id="task", task_type="x", payload="x" * 10_000))
        estimate = await storage.storage_estimate()
        return [await storage.get_storage_size(), estimate.usage, estimate.quota, await storage.request_persistence()]
