"""Measures how soon an idle worker in another process starts a task that is stored, and what it costs to be idle.

`python -m benchmarks.latency` measures on a file of SQLite, with `--postgres` also on a PostgreSQL server that it
starts itself, with `--url` on another one. The time runs from the call of `store_task` to the handler's start, by the
clock that all processes of a machine share. Tasks come one at a time, at random moments, so that the worker is idle in
between.

On PostgreSQL, two commits lie in between, the task's and the claim's, and each waits for the disk. So each task takes
turns with a row that `latency_floor.py` stores, notifies of and claims by bare asyncpg: the least that two processes,
one server and this disk allow.
"""

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import latency_floor
from benchmarks.postgres.__main__ import server
from swarm_persistence import AgentModel, TaskModel, Worker, init_storage

_LONGEST_SECONDS = 60.0
_SHORTEST_PAUSE_SECONDS = 0.02
_LONGEST_PAUSE_SECONDS = 0.1
_PERCENTILES = (0.5, 0.9, 0.99)


class Latency(NamedTuple):
    """What was measured on one database."""

    seconds: list[float]
    """To the start of each task."""
    floor_seconds: list[float]
    """To the claim of each row by bare asyncpg; empty on SQLite."""
    idle_share: float
    """The share of a core that the idle worker takes."""


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.latency", description=__doc__)
    parser.add_argument("--tasks", type=int, default=200, help="how many tasks to store")
    parser.add_argument("--idle", type=float, default=5.0, help="for how many seconds to measure the idle worker")
    parser.add_argument("--postgres", action="store_true", help="measure a PostgreSQL server of its own, too")
    parser.add_argument("--url", help="a PostgreSQL server to measure, too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
        targets = [str(Path(directory) / "swarm.db")]
        if options.postgres or options.url:
            targets.append(stack.enter_context(server(options.url)))
        for target in targets:
            print(report(target, asyncio.run(measure(target, options.tasks, options.idle))), flush=True)
    return 0


def report(target: str, latency: Latency) -> str:
    """Return what was measured as a line."""
    name = "PostgreSQL" if _is_on_server(target) else "SQLite"
    line = f"{name}: {_figures(latency.seconds)}; {latency.idle_share * 100:.2f} % of a core while idle"
    if not latency.floor_seconds:
        return line
    times = _percentile(latency.seconds, 0.5) / _percentile(latency.floor_seconds, 0.5)
    return f"{line}; by bare asyncpg {_figures(latency.floor_seconds)}: at p50, the library takes {times:.2f} × as long"


async def measure(target: str, count: int, idle_seconds: float) -> Latency:
    """Store so many tasks, one at a time."""
    async with AsyncExitStack() as stack:
        storage = await stack.enter_async_context(await init_storage(target))
        worker = await stack.enter_async_context(_process(_work, target))
        await asyncio.sleep(1.0)  # its first recovery and its first heartbeat are over
        worker.send(idle_seconds)
        idle_share = await _answer(worker)
        floor, store_row = None, None
        if _is_on_server(target):
            store_row = await stack.enter_async_context(latency_floor.opened(target))
            floor = await stack.enter_async_context(_process(latency_floor.claim_rows, target))
        seconds: list[float] = []
        floor_seconds: list[float] = []
        for _ in range(count):
            seconds.append(await _until_started(lambda: storage.store_task(TaskModel.new("measured", {})), worker))
            if floor is not None and store_row is not None:
                floor_seconds.append(await _until_started(store_row, floor))
    return Latency(seconds, floor_seconds, idle_share)


async def _until_started(store: Callable[[], Awaitable[object]], process: Any) -> float:
    """Store something after a pause, and return the seconds until the process has started it."""
    await asyncio.sleep(random.uniform(_SHORTEST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS))
    stored_at = time.monotonic()
    await store()
    return await _answer(process) - stored_at


@asynccontextmanager
async def _process(run: Callable[[str, Any], None], target: str) -> AsyncIterator[Any]:
    """Give the connection to a process of its own that is ready, until the end of the block."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=run, args=(target, theirs), daemon=True)
    process.start()
    try:
        await _answer(ours)
        yield ours
    finally:
        process.kill()
        process.join()


async def _answer(connection: Any) -> float:
    """Return what the worker's process sends next."""
    if not await asyncio.to_thread(connection.poll, _LONGEST_SECONDS):
        raise RuntimeError("the worker's process does not answer")
    return float(connection.recv())


def _work(target: str, connection: Any) -> None:
    async def handle(_: TaskModel) -> None:
        connection.send(time.monotonic())

    async def work() -> None:
        agent = AgentModel.new("idle", "measured")
        async with await init_storage(target) as storage, Worker(storage, agent, {"measured": handle}):
            connection.send(0)
            seconds = await _answer(connection)
            used = time.process_time()
            await asyncio.sleep(seconds)
            connection.send((time.process_time() - used) / seconds)
            await asyncio.Event().wait()

    asyncio.run(work())


def _is_on_server(target: str) -> bool:
    return "://" in target


def _figures(seconds: Sequence[float]) -> str:
    return ", ".join(f"p{share * 100:.0f} {_percentile(seconds, share) * 1000:.1f} ms" for share in _PERCENTILES)


def _percentile(seconds: Sequence[float], share: float) -> float:
    return sorted(seconds)[int(share * (len(seconds) - 1))]


if __name__ == "__main__":
    sys.exit(main())
