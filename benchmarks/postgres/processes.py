"""Measures writes that once waited for each other, by ever more processes: their rate must rise with them.

Each process does one operation after the other. `python -m benchmarks.postgres.processes` prints the rates, once with
the commits of this machine's disk, and once with commits that take 5 ms.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from itertools import count
from pathlib import Path

from swarm_persistence import EventModel, PostgresStorage, TaskModel

ROOT = Path(__file__).resolve().parents[2]
PROCESSES = (1, 2, 4, 8)
SLOW_COMMITS = {"commit_delay": "5000", "commit_siblings": "0"}
SETTINGS: Mapping[str, dict[str, str]] = {"the disk's commits": {}, "commits of 5 ms": SLOW_COMMITS}

Operation = Callable[[], Awaitable[object]]


async def _stores_with_a_dependency(storage: PostgresStorage, name: str, _: int) -> Operation:
    numbers = count()
    return lambda: storage.store_task(
        TaskModel(task_type="measured", payload={}, dependencies=[f"{name} waits for {next(numbers)}"])
    )


async def _stores_with_one_dependency(storage: PostgresStorage, name: str, _: int) -> Operation:
    return lambda: storage.store_task(TaskModel(task_type="measured", payload={}, dependencies=["the same for all"]))


async def _fails(storage: PostgresStorage, name: str, most: int) -> Operation:
    await storage.store_many(TaskModel(task_type=name, payload={}, max_retries=0) for _ in range(most))
    tasks = iter(await storage.claim_next_tasks(name, limit=most, task_types=[name]))
    return lambda: storage.fail_task(next(tasks), "measured")


async def _cancels(storage: PostgresStorage, name: str, most: int) -> Operation:
    tasks = [TaskModel(task_type=name, payload={}) for _ in range(most)]
    await storage.store_many(tasks)
    ids = iter([task.id for task in tasks])
    return lambda: storage.cancel_task(next(ids))


async def _completes(storage: PostgresStorage, name: str, most: int) -> Operation:
    await storage.store_many(TaskModel(task_type=name, payload={}) for _ in range(most))
    tasks = iter(await storage.claim_next_tasks(name, limit=most, task_types=[name]))
    return lambda: storage.complete_task(next(tasks))


async def _stores_events(storage: PostgresStorage, name: str, _: int) -> Operation:
    return lambda: storage.store_event(EventModel.new(name, {}))


OPERATIONS: Mapping[str, Callable[[PostgresStorage, str, int], Awaitable[Operation]]] = {
    "store_task with a dependency": _stores_with_a_dependency,
    "store_task with one and the same": _stores_with_one_dependency,
    "fail_task for good": _fails,
    "cancel_task": _cancels,
    "complete_task": _completes,
    "store_event": _stores_events,
}


def main() -> int:
    """Print the rates, or be one of the processes."""
    options = _options()
    if options.process is not None:
        asyncio.run(_work(options.url, options.only[0], options.process, options.seconds))
        return 0
    for title, settings in SETTINGS.items():
        for name in options.only or OPERATIONS:
            rates = [asyncio.run(_rate(url, name, number, options.seconds)) for number, url in _servers(settings)]
            print(f"{title:<20} {name:<34}" + "".join(f"{rate:>9,.0f} /s" for rate in rates), flush=True)
    return 0


def _servers(settings: dict[str, str]) -> Iterator[tuple[int, str]]:
    """Yield each number of processes, and a server."""
    sys.path.insert(0, str(ROOT / "tests"))
    from postgres.servers import embedded_programs, new_server

    with new_server(embedded_programs(), is_durable=True, **settings) as server:
        for number in PROCESSES:
            yield number, server.url(schema=f"measured_{number}")


async def _rate(url: str, operation: str, processes: int, seconds: float) -> float:
    async with await PostgresStorage.open(url):
        workers = [
            await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "benchmarks.postgres.processes", "--process", f"p{place}"),
                *("--url", url, "--only", operation, "--seconds", str(seconds)),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                cwd=ROOT,
            )
            for place in range(processes)
        ]
        for worker in workers:
            assert worker.stdout is not None
            await worker.stdout.readline()
        for worker in workers:
            assert worker.stdin is not None
            worker.stdin.write(b"go\n")
        answers = [await worker.communicate() for worker in workers]
    return sum(float(out) for out, _ in answers)


async def _work(url: str, operation: str, name: str, seconds: float) -> None:
    async with await PostgresStorage.open(url) as storage:
        operate = await OPERATIONS[operation](storage, name, int(1500 * seconds))
        print("ready", flush=True)
        sys.stdin.readline()
        started = time.perf_counter()
        done, passed = 0, 0.0
        while passed < seconds:
            await operate()
            done += 1
            passed = time.perf_counter() - started
    print(done / passed, flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.postgres.processes", description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0, help="how long each measurement takes")
    parser.add_argument("--only", action="append", choices=OPERATIONS, help="this operation only")
    parser.add_argument("--url", help=argparse.SUPPRESS)
    parser.add_argument("--process", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
