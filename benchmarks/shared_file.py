"""Measures what a second worker process on one SQLite file brings: `python -m benchmarks.shared_file`.

The tasks are stored beforehand, and their handler does nothing. With one process and with two, the time runs from the
common start of the workers until the last handler.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.isolation import barrier, run_together
from benchmarks.requirements import require
from swarm_persistence import AgentModel, QueryBuilder, SqliteStorage, TaskModel, TaskStatus
from swarm_persistence.worker import Worker

_TARGET = 1.3


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.shared_file", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--tasks", type=int, default=60_000, help="how many tasks one measurement does")
    parser.add_argument("--at-once", type=int, default=50, help="how many each process does at once")
    parser.add_argument("--directory", default=".", help="where the measured file lies (default: here)")
    options = parser.parse_args()
    rates: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(options.rounds):
        for processes, measured in rates.items():
            with tempfile.TemporaryDirectory(prefix=".benchmarks-", dir=options.directory) as place:
                path = Path(place) / "tasks.db"
                measured.append(asyncio.run(rate_of(path, processes, options.tasks, options.at_once)))
    one, two = (statistics.median(measured) for measured in rates.values())
    print(f"one process: {one:,.0f} tasks/s; two: {two:,.0f} tasks/s, {two / one:.2f} × (target {_TARGET} ×)")
    return 0


async def rate_of(path: Path, processes: int, tasks: int, at_once: int) -> float:
    """Let so many worker processes do the tasks; return how many they did a second."""
    async with await SqliteStorage.open(path) as storage:
        await storage.store_many([TaskModel.new("measured", {"place": place}) for place in range(tasks)])
    starting = barrier(processes)
    spans = await run_together(work_in_a_process, [(str(path), at_once, starting)] * processes)
    async with await SqliteStorage.open(path) as storage:
        completed = QueryBuilder(TaskModel).where_eq("status", TaskStatus.COMPLETED)
        stored = await storage.repository(TaskModel).count(completed)
    require(stored == tasks, f"{stored} tasks are completed, and {tasks} were to be")
    return tasks / (max(end for _, end in spans) - min(start for start, _ in spans))


def work_in_a_process(path: str, at_once: int, starting: Any) -> tuple[float, float]:
    """Do tasks until none is left; return when that began and the last was handled, by the clock that all share."""
    return asyncio.run(_work(path, at_once, starting))


async def _work(path: str, at_once: int, starting: Any) -> tuple[float, float]:
    ended_at = 0.0

    async def handle(_: TaskModel) -> None:
        nonlocal ended_at
        ended_at = time.monotonic()

    async with await SqliteStorage.open(path) as storage:
        agent = AgentModel.new("worker", "measured")
        await asyncio.to_thread(starting.wait)
        started_at = time.monotonic()
        async with Worker(storage, agent, {"measured": handle}, concurrency=at_once, heeds_signals=False) as worker:
            await worker.run_until_idle()
    return started_at, max(started_at, ended_at)


if __name__ == "__main__":
    sys.exit(main())
