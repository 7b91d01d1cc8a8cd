"""What a call of `MemoryStorage` takes with few and with many records in it."""

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable, Sequence

from benchmarks.bench import Bench
from benchmarks.isolation import run_isolated
from benchmarks.records import agent_name, make_tasks
from benchmarks.results import Row
from swarm_persistence import MemoryStorage, TaskModel

SMALL = 1_000
_CALLS = 2_000
_CHUNK = 10_000


def unit_of(verb: str) -> str:
    """Return the unit of a verb's time."""
    return f"microseconds per {verb}"


class MemoryGrowth:
    """Measured in a process of its own: a million records do not slow the other rows there."""

    key = "memory-storage"
    title = "MemoryStorage as it grows"
    about = f"One caller stores, reads and claims tasks, with {SMALL:,} and with {{grown:,}} tasks stored."

    async def run(self, bench: Bench) -> list[Row]:
        """Measure it."""
        small = min(SMALL, bench.scale.grown // 2)
        calls = min(_CALLS, bench.scale.operations)
        bench.say(f"{self.key}: {bench.scale.grown:,} records")
        rows = []
        for records in (small, bench.scale.grown):
            times = await run_isolated(time_memory, records, calls, bench.scale.rounds)
            rows += [Row(self.key, "memory", 1, values, unit_of(verb), records) for verb, values in times.items()]
        return rows


def time_memory(records: int, calls: int, rounds: int) -> dict[str, list[float]]:
    """Fill a storage and return the microseconds of each verb, a number for each round."""
    return asyncio.run(_time_memory(records, calls, rounds))


async def _time_memory(records: int, calls: int, rounds: int) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {"store": [], "read": [], "claim": []}
    async with MemoryStorage() as storage:
        for start in range(0, records, _CHUNK):
            await storage.store_many(make_tasks(min(_CHUNK, records - start), first=start))
        for _ in range(rounds):
            tasks = make_tasks(calls, first=records)
            gc.collect()
            times["store"].append(await _microseconds(tasks, storage.store_task))
            times["read"].append(await _microseconds(tasks, lambda task: storage.get_task(task.id)))
            times["claim"].append(await _microseconds(tasks, lambda task: storage.claim_task(task.id, agent_name(1))))
            for task in tasks:
                await storage.repository(TaskModel).delete(task.id)
    return times


async def _microseconds(tasks: Sequence[TaskModel], call: Callable[[TaskModel], Awaitable[object]]) -> float:
    started = time.perf_counter()
    for task in tasks:
        await call(task)
    return (time.perf_counter() - started) / len(tasks) * 1e6
