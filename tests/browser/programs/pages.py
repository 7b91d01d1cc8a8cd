"""What a page's Python has loaded, and the programs of the docs."""

import sys
from collections.abc import Coroutine
from datetime import timedelta
from types import ModuleType
from typing import Any

from swarm_persistence import (
    AgentModel,
    InvalidQueryError,
    MemoryStorage,
    OtherError,
    Storage,
    TaskModel,
    TaskStatus,
    WasmStorage,
    Worker,
    init_storage,
)


async def run_text(text: str) -> None:
    """Run a program that awaits."""
    from pyodide.code import eval_code_async  # type: ignore[import-not-found]

    await eval_code_async(text)


async def loaded() -> list[str]:
    """Return the modules that are loaded after some work, the standard library's left out."""
    async with await WasmStorage.open("loaded") as storage:
        await storage.store_task(TaskModel.new("x", None))
    return sorted({name.partition(".")[0] for name in sys.modules} - set(sys.stdlib_module_names))


async def imports() -> list[list[str]]:
    """Return the package's modules that the storage takes, and the other ones that these take."""
    ours, others = {WasmStorage.__module__}, set()
    left = [*ours]
    while left:
        # From module to module, as other programs may have loaded more. What stands in a function is not looked at.
        for value in vars(sys.modules[left.pop()]).values():
            origin = value.__name__ if isinstance(value, ModuleType) else str(getattr(value, "__module__", ""))
            if not origin.startswith("swarm_persistence."):
                others.add(origin.partition(".")[0])
            elif origin not in ours:
                ours.add(origin)
                left.append(origin)
    return [sorted(ours), sorted(others)]


async def everything() -> list[str]:
    """Import all that the package exports, and return the names of storages."""
    names: dict[str, Any] = {}
    exec("from swarm_persistence import *", names)
    return sorted(name for name in names if name.endswith("Storage"))


async def refusals() -> list[str]:
    """Request what no browser has, and return the errors."""
    import swarm_persistence

    errors = []
    attempts: list[Coroutine[Any, Any, Storage]] = [
        init_storage("swarm.db"),
        WasmStorage.open(""),
        WasmStorage.open("x", durability="none"),  # type: ignore[arg-type]
    ]
    for attempt in attempts:
        try:
            await attempt
        except OtherError as error:
            errors.append(str(error))
    try:
        swarm_persistence.open_storage(":memory:")
    except OtherError as error:
        errors.append(str(error))
    try:
        Worker(MemoryStorage(), AgentModel.new("w", "x", []), {"x": lambda task: None})
    except InvalidQueryError as error:
        errors.append(str(error))
    return errors


async def work(name: str) -> Any:
    """Let a worker do a task, and return the task's result."""

    async def double(task: TaskModel) -> Any:
        return 2 * task.payload

    async with await WasmStorage.open(name) as storage:
        await storage.store_task(TaskModel(id="task", task_type="double", payload=21))
        async with Worker(storage, AgentModel.new("w", "x", []), {"double": double}):
            async for task in storage.watch_tasks():
                if task.status is TaskStatus.COMPLETED:
                    return task.result
    return None


async def wait_for_task(name: str) -> Any:
    """Wait for a task, and return its payload."""
    async with await WasmStorage.open(name) as storage:
        task = await storage.claim_next_task("agent-1", wait=30)
        return task and task.payload


async def open_patiently(name: str, days: float) -> list[str]:
    """Wait for nothing, for so long at most, in every way."""
    patience = timedelta(days=days)
    async with await WasmStorage.open(name, connection_timeout=patience, transaction_timeout=patience) as storage:
        async with storage.transaction():
            await storage.store_task(TaskModel(id="task-1", task_type="x"))
        return [task.id for task in await storage.get_pending_tasks()]
