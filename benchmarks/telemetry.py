"""What telemetry costs: prints the processor's time of a write and of a read, off and on, for one caller and for 100.

The time is that of all threads of the process: what a span costs is computed, and the disk's time would hide it.
The storages take turns in each round, and the fastest round counts: other programs make rounds longer, and none
shorter. `never` was never instrumented, `off` was, and is no longer.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider

from benchmarks.machine import describe_machine
from swarm_persistence import EventModel, SqliteStorage, Storage, TaskModel
from swarm_persistence.telemetry import instrument, uninstrument

CALLERS = (1, 100)
STATES = ("never", "off", "without an SDK", "with an SDK")
_CALLS = {1: 20, 100: 400}
"""In a round, by the number of callers: few, so that in some rounds no other program interferes."""

Work = Callable[[Storage], Awaitable[object]]
Times = dict[tuple[str, int, str], float]


async def _store(storage: Storage) -> object:
    return await storage.store_event(EventModel.new("e", None))


async def _read(storage: Storage) -> object:
    return await storage.get_task("t")


WORKS: dict[str, Work] = {"store_event": _store, "get_task": _read}


def _set(storage: Storage, state: str) -> None:
    if state == "off":
        instrument(storage)
        uninstrument(storage)
    elif state == "without an SDK":
        instrument(storage)
    elif state == "with an SDK":
        instrument(storage, tracer_provider=TracerProvider(), meter_provider=MeterProvider())


async def measure(folder: Path, rounds: int) -> Times:
    """Return the processor's microseconds of a call, by the verb, the number of callers and the state."""
    times: Times = {}
    async with AsyncExitStack() as opened:
        storages: dict[str, Storage] = {}
        for state in STATES:
            fresh = await opened.enter_async_context(await SqliteStorage.open(folder / f"{state}.db"))
            await fresh.store_task(TaskModel(id="t", task_type="t"))
            _set(fresh, state)
            storages[state] = fresh
        for _ in range(rounds):
            for verb, work in WORKS.items():
                for callers in CALLERS:
                    for state, storage in storages.items():
                        took = await _time_of(storage, work, callers)
                        key = (verb, callers, state)
                        times[key] = min(took, times.get(key, took))
    return times


async def _time_of(storage: Storage, work: Work, callers: int) -> float:
    each = _CALLS[callers] // callers

    async def call() -> None:
        for _ in range(each):
            await work(storage)

    start = time.process_time()
    await asyncio.gather(*(call() for _ in range(callers)))
    return (time.process_time() - start) / (each * callers) * 1_000_000


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        machine = describe_machine(Path(folder), ("swarm-persistence", "apsw", "opentelemetry-api"))
        times = asyncio.run(measure(Path(folder), options.rounds))
    print(*machine.lines(), sep="\n")
    print(
        f"| µs of the processor a call, fastest of {options.rounds} rounds | {' | '.join(STATES)} |",
        "|---" * 5 + "|",
        sep="\n",
    )
    for verb in WORKS:
        for callers in CALLERS:
            row = [f"{times[verb, callers, state]:.1f}" for state in STATES]
            print(f"| `{verb}`, {callers} caller{'s' if callers > 1 else ''} | {' | '.join(row)} |")


if __name__ == "__main__":
    main()
