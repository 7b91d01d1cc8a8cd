"""Times what a swarm does most, in the page's Python; milliseconds, the median of some rounds."""

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


async def measure(name: str, rounds: int) -> dict[str, float]:
    """Time each kind of work on a fresh database."""
    async with await WasmStorage.open(name) as storage:
        return {
            "single put": await milliseconds(rounds, lambda place: storage.store_task(task(f"single-{place}", place))),
            "batch of 1,000": await milliseconds(5, lambda place: _batch(storage, f"batch-{place}")) / 1000,
            "1,000 puts at once": await milliseconds(5, lambda place: _at_once(storage, f"once-{place}")) / 1000,
            "point get": await milliseconds(rounds, lambda place: storage.get_task(f"single-{place}")),
            "claim": await milliseconds(rounds, lambda place: storage.claim_task(f"single-{place}", "agent-1")),
            "read-modify-write": await milliseconds(rounds, lambda place: _count(storage, f"single-{place}")),
            **await measure_select(f"{name}-select"),
        }


async def measure_select(name: str) -> dict[str, float]:
    """Time an ordered select of 1,000 pending tasks."""
    async with await WasmStorage.open(name) as storage:
        await _batch(storage, "pending")
        return {"ordered select of 1,000": await milliseconds(10, lambda _: storage.get_pending_tasks())}


async def _batch(storage: Storage, prefix: str) -> None:
    await storage.store_many([task(f"{prefix}-{place}", place) for place in range(1000)])


async def _at_once(storage: Storage, prefix: str) -> None:
    from asyncio import gather

    await gather(*(storage.store_task(task(f"{prefix}-{place}", place)) for place in range(1000)))


async def _count(storage: Storage, id: str) -> None:
    async with storage.transaction():
        found = await storage.get_task(id)
        assert found is not None
        found.payload["page"] += 1
        await storage.update_task(found)
