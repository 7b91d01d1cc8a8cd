"""Measures how soon an idle worker in another process starts a task that is stored, and what it costs to be idle.

`python -m benchmarks.latency` measures on a file of SQLite, with `--postgres` also on a PostgreSQL server that it
starts itself, with `--url` on another one. The time runs
from the call of `store_task` to the handler's start, by the clock that all processes of a machine share. Tasks come one
at a time, at random moments, so that the worker is idle in between.
"""

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks.postgres.__main__ import server
from swarm_persistence import AgentModel, TaskModel, Worker, init_storage

_LONGEST_SECONDS = 60.0
_SHORTEST_PAUSE_SECONDS = 0.02
_LONGEST_PAUSE_SECONDS = 0.1
_PERCENTILES = (0.5, 0.9, 0.99)


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
            report(target, *asyncio.run(measure(target, options.tasks, options.idle)))
    return 0


def report(target: str, seconds: Sequence[float], idle_share: float) -> None:
    ordered = sorted(seconds)
    figures = [f"p{share * 100:.0f} {ordered[int(share * (len(ordered) - 1))] * 1000:.1f} ms" for share in _PERCENTILES]
    print(f"{target.partition('://')[0] if '://' in target else 'sqlite'}: {', '.join(figures)}", end="; ")
    print(f"{idle_share * 100:.2f} % of a core while idle", flush=True)


async def measure(target: str, count: int, idle_seconds: float) -> tuple[list[float], float]:
    """Return the seconds to the start of each task, and the share of a core that the idle worker takes."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    async with await init_storage(target) as storage:
        worker = context.Process(target=_work, args=(target, theirs), daemon=True)
        worker.start()
        try:
            await _answer(ours)
            await asyncio.sleep(1.0)  # its first recovery and its first heartbeat are over
            ours.send(idle_seconds)
            idle_share = await _answer(ours)
            seconds = []
            for _ in range(count):
                await asyncio.sleep(random.uniform(_SHORTEST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS))
                stored_at = time.monotonic()
                await storage.store_task(TaskModel.new("measured", {}))
                seconds.append(await _answer(ours) - stored_at)
        finally:
            worker.kill()
            worker.join()
    return seconds, idle_share


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


if __name__ == "__main__":
    sys.exit(main())
