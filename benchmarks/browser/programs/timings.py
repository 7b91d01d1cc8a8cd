"""Times what a swarm does most, in the page's Python; milliseconds, the median of some rounds."""

import asyncio
import platform
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from statistics import median
from time import perf_counter

from swarm_persistence import Storage, TaskModel, TaskPriority
from swarm_persistence.backends.wasm import WasmStorage

START = datetime(2026, 1, 1, tzinfo=UTC)


def task(id: str, place: int) -> TaskModel:
    """Return a task like those of `plain.js`."""
    moment = START + timedelta(seconds=place)
    priority = list(TaskPriority)[place % 4]
    payload = {"dataset": "sales.csv", "page": place}
    return TaskModel(
        id=id, task_type="analyze", payload=payload, priority=priority, created_at=moment, updated_at=moment
    )


async def milliseconds(rounds: int, call: Callable[[int], Awaitable[object]]) -> float:
    """Return how long a call takes."""
    times = []
    for place in range(rounds):
        start = perf_counter()
        await call(place)
        times.append(perf_counter() - start)
    return median(times) * 1000


async def measure(name: str, calls: int, batches: int, records: int) -> dict[str, float]:
    """Time each kind of work on a fresh database."""
    async with await WasmStorage.open(name) as storage:
        ids = [f"single-{place}" for place in range(calls)]
        return {
            "put": await milliseconds(calls, lambda place: storage.store_task(task(ids[place], place))),
            "batch": await milliseconds(batches, lambda place: _batch(storage, f"batch-{place}", records)) / records,
            "at once": await milliseconds(batches, lambda place: _at_once(storage, f"at-{place}", records)) / records,
            "get": await milliseconds(calls, lambda place: storage.get_task(ids[place])),
            "claim": await milliseconds(calls, lambda place: storage.claim_task(ids[place], "agent-1")),
            "change": await milliseconds(calls, lambda place: _count(storage, ids[place])),
            "select": await _measure_select(f"{name}-select", batches, records),
        }


async def python_version() -> str:
    """Return the version of this Python."""
    return platform.python_version()


async def _measure_select(name: str, times: int, records: int) -> float:
    """Time an ordered select of pending tasks."""
    async with await WasmStorage.open(name) as storage:
        await _batch(storage, "pending", records)
        return await milliseconds(times, lambda _: storage.get_pending_tasks())


async def _batch(storage: Storage, prefix: str, records: int) -> None:
    await storage.store_many([task(f"{prefix}-{place}", place) for place in range(records)])


async def _at_once(storage: Storage, prefix: str, records: int) -> None:
    await asyncio.gather(*(storage.store_task(task(f"{prefix}-{place}", place)) for place in range(records)))


async def _count(storage: Storage, id: str) -> None:
    async with storage.transaction():
        found = await storage.get_task(id)
        assert found is not None
        found.payload["page"] += 1
        await storage.update_task(found)
