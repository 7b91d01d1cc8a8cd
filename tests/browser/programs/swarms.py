"""What several tabs do with one database at once."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from swarm_persistence import EventModel, Storage, StorageError, TaskModel, TaskStatus
from swarm_persistence.backends.wasm import WasmStorage

from .callers import elsewhere, outcome


async def store_tasks(name: str, number: int) -> None:
    """Store tasks to claim, numbered from 0."""
    async with await WasmStorage.open(name) as storage:
        await storage.store_many([TaskModel(id=f"task-{place}", task_type="x") for place in range(number)])


async def meet(storage: Storage, who: str, *, at: str = "has come") -> None:
    """Wait until two have come to a point."""
    await storage.store_event(EventModel.new(at, who))
    while len(await storage.get_events_by_type(at, 2)) < 2:
        pass


async def work(storage: Storage) -> None:
    """Do something, so that the loser of a claim comes to the next task first."""
    for _ in range(3):
        await storage.get_task("task-0")


async def claim_all(name: str, agent_id: str, number: int) -> list[str]:
    """Meet another one, claim every task, and return the ids of those that were got."""
    async with await WasmStorage.open(name) as storage:
        await meet(storage, agent_id)
        won = []
        for place in range(number):
            if await storage.claim_task(f"task-{place}", agent_id):
                won.append(f"task-{place}")
                if len(won) == 1:
                    await meet(storage, agent_id, at="has won")  # a slow tab shall have its part as well
                await work(storage)
        return won


async def claim_all_naively(name: str, agent_id: str, number: int) -> list[str]:
    """Claim as one must not: read, look, and write what was read."""
    won = []
    async with await WasmStorage.open(name) as storage:
        await meet(storage, agent_id)
        for place in range(number):
            task = await storage.get_task(f"task-{place}")
            if task is not None and task.status is TaskStatus.PENDING:
                task.status, task.assigned_to = TaskStatus.ASSIGNED, agent_id
                await storage.update_task(task, force=True)
                won.append(task.id)
                await work(storage)
    return won


async def holders(name: str) -> dict[str, Any]:
    """Return to whom each task is assigned."""
    async with await WasmStorage.open(name) as storage:
        return {task.id: task.assigned_to for task in await storage.repository(TaskModel).find_all()}


async def start_counting(name: str) -> None:
    """Store a task whose payload is a number, 0 for now."""
    async with await WasmStorage.open(name) as storage:
        await storage.store_task(TaskModel(id="counter", task_type="x", payload=0))


async def count_up(name: str, times: int) -> None:
    """Read the number, and write the next one, in transactions."""
    async with await WasmStorage.open(name) as storage:
        for _ in range(times):
            async with storage.transaction():
                task = await storage.get_task("counter")
                assert task is not None
                task.payload += 1
                await storage.update_task(task)


async def counted(name: str) -> Any:
    """Return the number."""
    async with await WasmStorage.open(name) as storage:
        task = await storage.get_task("counter")
        return task and task.payload


async def write_past_a_lock(name: str, what: str) -> list[Any]:
    """Let a transaction read, write past its lock, and return how its commit ends, and what is stored."""
    async with await WasmStorage.open(name) as storage, await WasmStorage.open(name) as other:
        task = await storage.store_task(TaskModel(id="task", task_type="x", payload="before"))

        async def write_past_it() -> None:
            changed = TaskModel(id="task", task_type="x", payload="past the lock")
            with without_locks():
                if what == "update":
                    await other.update_task(changed, force=True)
                else:
                    await other.repository(TaskModel).delete("task")

        async def read_and_write() -> None:
            async with storage.transaction():
                await storage.get_task("task")
                await elsewhere(write_past_it())
                task.payload = "in the transaction"
                await storage.update_task(task, force=True)

        ended = await outcome(elsewhere(read_and_write()))
        return [ended, [task.payload for task in await storage.repository(TaskModel).find_all()]]


@contextmanager
def without_locks() -> Iterator[None]:
    """Give each tab a lock of its own meanwhile."""
    from pyodide.code import run_js  # type: ignore[import-not-found]

    run_js(
        "LockManager.prototype.asked = LockManager.prototype.request;"
        "LockManager.prototype.request = function (name, ...rest) { return this.asked(name + Math.random(), ...rest); }"
    )
    try:
        yield
    finally:
        run_js("LockManager.prototype.request = LockManager.prototype.asked;")


_open: dict[str, Any] = {}


async def hold(name: str) -> None:
    """Begin a transaction, store something in it, and leave it open."""
    storage = await WasmStorage.open(name)
    transaction = await storage.begin_transaction()
    await storage.store_task(TaskModel(id="of an open transaction", task_type="x"))
    _open["storage"], _open["transaction"] = storage, transaction
    await asyncio.Event().wait()


async def is_holding() -> bool:
    """Tell whether the transaction is open."""
    return "transaction" in _open


async def let_go() -> None:
    """Roll the open transaction back."""
    await _open.pop("transaction").rollback()
    await _open.pop("storage").close()


async def stored_ids(name: str) -> list[str]:
    """Return the ids of all tasks."""
    async with await WasmStorage.open(name) as storage:
        return [task.id for task in await storage.repository(TaskModel).find_all()]


async def store(name: str, id: str) -> None:
    """Store a task."""
    async with await WasmStorage.open(name) as storage:
        await storage.store_task(TaskModel(id=id, task_type="x", payload={"from": "the page"}))


async def store_impatiently(name: str, id: str, seconds: float) -> str:
    """Store a task, waiting for the write lock for at most so long, and return the error."""
    async with await WasmStorage.open(name, connection_timeout=seconds) as storage:
        try:
            await storage.store_task(TaskModel(id=id, task_type="x"))
        except StorageError as error:
            return f"{type(error).__name__}: {error}"
    return ""
