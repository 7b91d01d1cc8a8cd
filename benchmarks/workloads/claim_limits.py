"""Claims of the next task while limits keep others from being claimed, against claims without limits."""

import asyncio
import time
from collections.abc import Sequence

from benchmarks.bench import Bench, Case
from benchmarks.isolation import run_isolated
from benchmarks.records import agent_name
from benchmarks.requirements import require
from benchmarks.results import Quantity, Row
from swarm_persistence import MemoryStorage, SqliteStorage, Storage, TaskModel

KEY = "claim-limits"
TITLE = "Claim next under limits"
ABOUT = (
    "One caller takes the next task of {grown:,} that are pending: without a limit; while the type of half of them, "
    "which are first in line, may not run; and while these have concurrency keys that are full."
)
NO_LIMIT, FULL_TYPE, FULL_KEYS = CASES = ("no limit", "half of the tasks of a full type", "half of them of full keys")
RATE = "claims per second"
TIMES = "times the time without a limit"
_LIMITED, _FREE = "limited", "free"
_FULL_KEYS = 4
_OTHER_KEYS = 1_000
_STORED_AT_ONCE = 10_000
_BURST = 20
_MOST_IN_MEMORY = 100_000
_AGENT, _HOLDER = agent_name(0), agent_name(1)


class ClaimLimits:
    """Claims are timed in bursts; after each, the tasks are given back. The file is made once, for every round."""

    key = KEY
    title = TITLE
    about = ABOUT

    async def run(self, bench: Bench) -> list[Row]:
        """Measure it."""
        grown, seconds = bench.scale.grown, bench.scale.seconds
        path = bench.site.directory / f"{self.key}.db"
        bench.say(f"{self.key}: {grown:,} pending tasks")
        await run_isolated(fill_file, str(path), grown)

        async def measure_once(case: Case) -> dict[Quantity, float]:
            async with await SqliteStorage.open(path) as storage:
                quantities = await measured(storage, grown, bench.shuffled(CASES), seconds)
            left = bench.site.count(path, "tasks", "status = 'pending'")
            require(left == grown, f"{left} tasks are pending, and {grown} were to be")
            return quantities

        rows = await bench.measure_several(self.key, [("swarm", 1)], measure_once)
        bench.site.remove(path)
        bench.say(f"{self.key}: in memory")
        in_memory = await run_isolated(measured_in_memory, min(grown, _MOST_IN_MEMORY), bench.scale.rounds, seconds)
        return rows + rows_of("memory", in_memory)


def fill_file(path: str, grown: int) -> None:
    """Make the file."""
    asyncio.run(_fill_file(path, grown))


def measured_in_memory(grown: int, rounds: int, seconds: float) -> list[dict[Quantity, float]]:
    """Return the figures of each round of the storage in memory."""
    return asyncio.run(_measured_in_memory(grown, rounds, seconds))


async def fill(storage: Storage, grown: int) -> None:
    """Store so many tasks: first half of them, of few keys, then those that may run."""
    for start in range(0, grown, _STORED_AT_ONCE):
        await storage.store_many([_task(number, grown) for number in range(start, min(start + _STORED_AT_ONCE, grown))])


async def measured(storage: Storage, grown: int, cases: Sequence[str], seconds: float) -> dict[Quantity, float]:
    """Return the rates of each case, and how much longer a claim takes than without a limit."""
    rates = {case: await _rate(storage, case, seconds) for case in cases}
    return {
        **{Quantity(f"{case}: {RATE}", grown): rates[case] for case in CASES},
        **{Quantity(f"{case}: {TIMES}", grown): rates[NO_LIMIT] / rates[case] for case in CASES if case != NO_LIMIT},
    }


def rows_of(peer: str, rounds: Sequence[dict[Quantity, float]]) -> list[Row]:
    """Return the rows of some rounds."""
    return [Row(KEY, peer, 1, [each[quantity] for each in rounds], *quantity) for quantity in rounds[0]]


def _task(number: int, grown: int) -> TaskModel:
    if number < grown // 2:
        return TaskModel.new(_LIMITED, None, concurrency_key=f"full-{number % _FULL_KEYS}")
    if number % 2:
        return TaskModel.new(_LIMITED, None, concurrency_key=f"other-{number % _OTHER_KEYS}")
    return TaskModel.new(_FREE, None)


async def _fill_file(path: str, grown: int) -> None:
    async with await SqliteStorage.open(path) as storage:
        await fill(storage, grown)
        await storage.checkpoint()


async def _measured_in_memory(grown: int, rounds: int, seconds: float) -> list[dict[Quantity, float]]:
    async with MemoryStorage() as storage:
        await fill(storage, grown)
        return [await measured(storage, grown, CASES, seconds) for _ in range(rounds)]


async def _rate(storage: Storage, case: str, seconds: float) -> float:
    """Return the claims per second of bursts that take so long together, after one that does not count."""
    if case == FULL_TYPE:
        await storage.set_limit(_LIMITED, running=0)
    elif case == FULL_KEYS:
        await storage.set_limit(_LIMITED, per_key=1)
        held = await storage.claim_next_tasks(_HOLDER, limit=_FULL_KEYS)
        require(len({task.concurrency_key for task in held}) == _FULL_KEYS, "the keys are not full")
    await _seconds_of_burst(storage, case)
    bursts, taken = 0, 0.0
    while taken < seconds:
        taken += await _seconds_of_burst(storage, case)
        bursts += 1
    await storage.delete_limit(_LIMITED)
    await storage.delete_agent(_HOLDER)  # which gives back what it holds
    await _claim(storage, NO_LIMIT)  # no claim of the next case is the first to see that there is no limit
    await storage.delete_agent(_AGENT)
    return bursts * _BURST / taken


async def _seconds_of_burst(storage: Storage, case: str) -> float:
    started = time.perf_counter()
    for _ in range(_BURST):
        await _claim(storage, case)
    taken = time.perf_counter() - started
    await storage.delete_agent(_AGENT)
    return taken


async def _claim(storage: Storage, case: str) -> None:
    task = await storage.claim_next_task(_AGENT)
    require(task is not None, "the queue was empty")
    assert task is not None
    is_first_in_line = task.concurrency_key is not None and task.concurrency_key.startswith("full")
    require(is_first_in_line == (case == NO_LIMIT), f"{case}: a task of the key {task.concurrency_key} was claimed")
