"""Four processes that claim from one file: how fairly they share it, and whether two ever get the same task."""

import asyncio
import time
from itertools import count
from typing import Any

from benchmarks.bench import Bench, Case
from benchmarks.isolation import barrier, run_together
from benchmarks.peers import PEERS
from benchmarks.records import agent_name, make_tasks
from benchmarks.requirements import require
from benchmarks.results import RATE, Quantity, Row

PROCESSES = 4
SHARE = "slowest of fastest, percent"
DOUBLE = "double claims"
_KEYS = ("swarm", "apsw-autocommit", "aiosqlite-isolated", "huey")


class Processes:
    """Each process claims the next task, one after the other."""

    key = "processes"
    title = f"{PROCESSES} processes"
    about = (
        f"{PROCESSES} processes claim the next task from one file, one call after the other. The drivers wait for the "
        "lock as SQLite does by itself (`busy_timeout`), the library in its own way."
    )

    async def run(self, bench: Bench) -> list[Row]:
        """Measure it."""
        cases: list[Case] = [(key, PROCESSES) for key in _KEYS]
        tasks = make_tasks(bench.scale.operations)

        async def measure_once(case: Case) -> dict[Quantity, float]:
            peer = PEERS[case[0]]()
            path = await bench.site.copy(self.key, peer, lambda: tasks)
            starting = barrier(PROCESSES)
            calls = [(case[0], str(path), bench.scale.process_seconds, starting) for _ in range(PROCESSES)]
            claimed = await run_together(claim_in_a_process, calls)
            together = [id for ids in claimed for id in ids]
            require(bool(together), f"no process got a task from {peer.title}")
            require(len(together) < len(tasks), f"the tasks were too few for {peer.title}: they ran out")
            bench.site.remove(path)
            return {
                Quantity(RATE): len(together) / bench.scale.process_seconds,
                Quantity(SHARE): 100 * min(map(len, claimed)) / max(map(len, claimed)),
                Quantity(DOUBLE): float(len(together) - len(set(together))),
            }

        return await bench.measure_several(self.key, cases, measure_once)


def claim_in_a_process(key: str, path: str, seconds: float, starting: Any) -> list[str]:
    """Claim until the time is up, and return the ids."""
    return asyncio.run(_claim(key, path, seconds, starting))


async def _claim(key: str, path: str, seconds: float, starting: Any) -> list[str]:
    peer: Any = PEERS[key]()
    await peer.open(path)
    ids: list[str] = []
    starting.wait(60)
    deadline = time.perf_counter() + seconds
    for number in count():
        if time.perf_counter() >= deadline:
            break
        task = peer.claim_next(agent_name(number))
        if not peer.blocks:
            task = await task
        if task is None:
            break
        ids.append(task.id)
    await peer.close()
    return ids
