"""Completions of tasks that one other task waits for: few, and many."""

import asyncio
import time

from benchmarks.bench import Bench, Case
from benchmarks.records import agent_name
from benchmarks.requirements import require
from benchmarks.results import Quantity, Row
from swarm_persistence import SqliteStorage, TaskModel, TaskStatus

IN_FLIGHT = 100
RATE = "completions per second"
_FEWER, _SHARE = 10, 10
_STORED_AT_ONCE = 10_000
_CLAIMED_AT_ONCE = 1_000


class FanIn:
    """Callers complete claimed tasks, all of which one pending task depends on."""

    key = "fan-in"
    title = "Fan-in"
    about = f"{IN_FLIGHT} callers complete all tasks that one task waits for, each one after the other."

    async def run(self, bench: Bench) -> list[Row]:
        """Measure it."""
        many = bench.scale.grown // _SHARE

        async def measure_once(_: Case) -> dict[Quantity, float]:
            return {Quantity(RATE, size): await self._rate(bench, size) for size in (many // _FEWER, many)}

        return await bench.measure_several(self.key, [("swarm", IN_FLIGHT)], measure_once)

    async def _rate(self, bench: Bench, size: int) -> float:
        path = bench.site.directory / f"{self.key}.db"
        async with await SqliteStorage.open(path) as storage:
            tasks = [TaskModel.new("step", number) for number in range(size)]
            for start in range(0, size, _STORED_AT_ONCE):
                await storage.store_many(tasks[start : start + _STORED_AT_ONCE])
            last = TaskModel.new("last", None, dependencies=[task.id for task in tasks])
            await storage.store_task(last)
            claimed: list[TaskModel] = []
            while more := await storage.claim_next_tasks(agent_name(0), limit=_CLAIMED_AT_ONCE):
                claimed += more
            require(len(claimed) == size, f"{len(claimed)} tasks were claimed, and {size} were to be")
            await storage.checkpoint()
            left = iter(claimed)

            async def complete() -> None:
                for task in left:
                    await storage.complete_task(task)

            started = time.perf_counter()
            await asyncio.gather(*(complete() for _ in range(IN_FLIGHT)))
            took = time.perf_counter() - started
            freed = await storage.claim_next_task(agent_name(0))
            require(freed is not None and freed.id == last.id, "the last task is not ready")
        completed = bench.site.count(path, "tasks", f"status = '{TaskStatus.COMPLETED}'")
        require(completed == size, f"{completed} tasks are completed, and {size} were to be")
        bench.site.remove(path)
        return size / took
