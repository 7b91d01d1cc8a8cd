"""Claims of the next task from short and long queues, and beside many finished tasks: what is left of the rate."""

import asyncio
import time
from collections.abc import Sequence
from itertools import repeat
from pathlib import Path
from typing import NamedTuple

from benchmarks.bench import Bench, Case
from benchmarks.isolation import run_isolated
from benchmarks.records import agent_name, make_tasks
from benchmarks.requirements import require
from benchmarks.results import Quantity, Row
from benchmarks.scale import Scale
from swarm_persistence import MemoryStorage, SqliteStorage, Storage, TaskModel, TaskStatus

SMALL = 1_000
IN_FLIGHTS = (1, 100)
_MOST_IN_MEMORY = 100_000
_TYPES = ("fetch", "parse", "sum", "report")
ANY_TYPE, SOME_TYPES = "any type", "three of four types"
_WANTED: dict[str, tuple[str, ...] | None] = {ANY_TYPE: None, SOME_TYPES: _TYPES[:3]}
_STORED_AT_ONCE = 10_000
_AGENT = agent_name(0)


class Queue(NamedTuple):
    """So many tasks that wait, and so many that are finished."""

    pending: int
    finished: int = 0


class QueueDepth:
    """Claims are timed in bursts; after each, the tasks are given back, so that the queue stays as long as it is."""

    key = "queue-depth"
    title = "Claim next as the queue grows"
    about = (
        f"{IN_FLIGHTS[0]} and {IN_FLIGHTS[1]} callers take the next task, of any type or of three of four types, with "
        f"{SMALL:,} to {{grown:,}} pending tasks, and with {SMALL:,} pending beside {{grown:,}} finished ones."
    )

    async def run(self, bench: Bench) -> list[Row]:
        """Measure it: the files are made once, and used in every round."""
        queues = _queues(bench.scale)
        paths: dict[Queue, Path] = {}
        for queue in queues:
            bench.say(f"{self.key}: {queue.pending:,} pending and {queue.finished:,} finished tasks")
            paths[queue] = bench.site.directory / f"{self.key}-{queue.pending}-{queue.finished}.db"
            await run_isolated(fill_file, str(paths[queue]), queue)

        async def measure_once(case: Case) -> dict[Quantity, float]:
            rates: dict[tuple[Queue, str], float] = {}
            for queue in bench.shuffled(queues):
                async with await SqliteStorage.open(paths[queue]) as storage:
                    for wanted in bench.shuffled(list(_WANTED)):
                        rates[queue, wanted] = await _rate(storage, queues[0], wanted, case[1], bench.scale.seconds)
                left = bench.site.count(paths[queue], "tasks", "status = 'pending'")
                require(left == queue.pending, f"{left} tasks are pending, and {queue.pending} were to be")
            return _quantities(rates, case[1])

        rows = await bench.measure_several(self.key, [("swarm", number) for number in IN_FLIGHTS], measure_once)
        for path in paths.values():
            bench.site.remove(path)
        return rows + await _memory_rows(bench)


def unit_of(wanted: str, in_flight: int, finished: int = 0) -> str:
    """Return the unit of a rate."""
    beside = f", beside {finished:,} finished" if finished else ""
    return f"{wanted}, {in_flight} in flight{beside}: claims per second"


def fill_file(path: str, queue: Queue) -> None:
    """Make a file."""
    asyncio.run(_fill_file(path, queue))


def memory_rates(queues: Sequence[Queue], rounds: int, seconds: float) -> list[tuple[int, dict[Quantity, float]]]:
    """Return the rates of the storage in memory, for each round and number in flight."""
    return asyncio.run(_memory_rates(queues, rounds, seconds))


def _queues(scale: Scale) -> list[Queue]:
    """Return the queues, the shortest first, and the one beside finished tasks last."""
    shortest = min(SMALL, scale.grown // 10)
    sizes = [shortest * 10**power for power in range(7) if shortest * 10**power <= scale.grown]
    return [*map(Queue, sizes), Queue(shortest, scale.grown)]


async def _fill_file(path: str, queue: Queue) -> None:
    async with await SqliteStorage.open(path) as storage:
        await _fill(storage, queue)
        await storage.checkpoint()


async def _fill(storage: Storage, queue: Queue) -> None:
    # The finished ones first, as they would be; their tasks are of the same types and ranks.
    for count, status in ((queue.finished, TaskStatus.COMPLETED), (queue.pending, TaskStatus.PENDING)):
        for start in range(0, count, _STORED_AT_ONCE):
            await storage.store_many(_tasks(min(_STORED_AT_ONCE, count - start), status))


def _tasks(count: int, status: TaskStatus) -> list[TaskModel]:
    tasks = make_tasks(count)
    for number, task in enumerate(tasks):
        # By fours: each type has tasks of all ranks.
        task.task_type = _TYPES[number // 4 % len(_TYPES)]
        task.status = status
    return tasks


async def _rate(storage: Storage, shortest: Queue, wanted: str, in_flight: int, seconds: float) -> float:
    """Return the claims per second of bursts that take so long together, after one that does not count."""
    # Even a type's share of the shortest queue is never used up.
    burst = min(20 * in_flight, shortest.pending * 2 // 5)
    await _seconds_of(storage, burst, wanted, in_flight)
    done, taken = 0, 0.0
    while taken < seconds:
        taken += await _seconds_of(storage, burst, wanted, in_flight)
        done += burst
    return done / taken


async def _seconds_of(storage: Storage, burst: int, wanted: str, in_flight: int) -> float:
    works = repeat(None, burst)
    types = _WANTED[wanted]

    async def caller() -> None:
        for _ in works:
            task = await storage.claim_next_task(_AGENT, task_types=types)
            require(task is not None, "the queue was empty")

    started = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(in_flight)))
    taken = time.perf_counter() - started
    await storage.delete_agent(_AGENT)  # which gives back what it holds
    return taken


def _quantities(rates: dict[tuple[Queue, str], float], in_flight: int) -> dict[Quantity, float]:
    return {
        Quantity(unit_of(wanted, in_flight, queue.finished), queue.pending): rate
        for (queue, wanted), rate in sorted(rates.items())
    }


async def _memory_rows(bench: Bench) -> list[Row]:
    queues = [queue for queue in _queues(bench.scale) if max(queue) <= _MOST_IN_MEMORY]
    bench.say(f"{QueueDepth.key}: in memory")
    measured = await run_isolated(memory_rates, queues, bench.scale.rounds, bench.scale.seconds)
    rows: dict[tuple[int, Quantity], list[float]] = {}
    for in_flight, rates in measured:
        for quantity, value in rates.items():
            rows.setdefault((in_flight, quantity), []).append(value)
    return [
        Row(QueueDepth.key, "memory", in_flight, values, *quantity) for (in_flight, quantity), values in rows.items()
    ]


async def _memory_rates(
    queues: Sequence[Queue], rounds: int, seconds: float
) -> list[tuple[int, dict[Quantity, float]]]:
    rates: dict[tuple[int, int], dict[tuple[Queue, str], float]] = {}
    for queue in queues:
        async with MemoryStorage() as storage:
            await _fill(storage, queue)
            for number in range(rounds):
                for in_flight in IN_FLIGHTS:
                    for wanted in _WANTED:
                        rate = await _rate(storage, queues[0], wanted, in_flight, seconds)
                        rates.setdefault((number, in_flight), {})[queue, wanted] = rate
    return [(in_flight, _quantities(each, in_flight)) for (_, in_flight), each in rates.items()]
