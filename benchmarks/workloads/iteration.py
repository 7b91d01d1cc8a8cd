"""The memory that reading a large table through an async iterator takes."""

import asyncio
import tempfile
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.isolation import run_isolated
from benchmarks.records import make_events
from benchmarks.results import Row
from benchmarks.workloads.residency import UNIT, peak_mebibytes
from swarm_persistence import EventModel, SqliteStorage

_FEWER = 10
_STORED_AT_ONCE = 10_000


class Iteration:
    """The peak of the resident memory while all events are read, less that before."""

    key = "iteration"
    title = "Memory of reading through an async iterator"
    about = (
        "`async for event in storage.repository(EventModel).iterate()` over {grown:,} events. The figure is the peak "
        "of the process's resident memory while it reads, less the peak before."
    )

    async def run(self, bench: Bench) -> list[Row]:
        """Measure it, in a new process each."""
        rows = []
        for events in (bench.scale.grown // _FEWER, bench.scale.grown):
            with tempfile.TemporaryDirectory(dir=bench.site.directory) as place:
                path = str(Path(place) / "iteration.db")
                await run_isolated(fill, events, path)
                values = []
                for number in range(bench.scale.rounds):
                    bench.say(f"{self.key}: {events:,} events, round {number + 1} of {bench.scale.rounds}")
                    values.append(await run_isolated(peak_while_reading, events, path))
            rows.append(Row(self.key, "swarm", 1, values, UNIT, size=events))
        return rows


def fill(events: int, path: str) -> float:
    """Store so many events."""

    async def store() -> float:
        async with await SqliteStorage.open(path) as storage:
            for start in range(0, events, _STORED_AT_ONCE):
                await storage.store_many(make_events(min(_STORED_AT_ONCE, events - start)))
        return 0.0

    return asyncio.run(store())


def peak_while_reading(events: int, path: str) -> float:
    """Read all events, and return by how many mebibytes the peak of the resident memory has risen."""

    async def read() -> float:
        async with await SqliteStorage.open(path) as storage:
            before = peak_mebibytes()
            count = 0
            async for _ in storage.repository(EventModel).iterate():
                count += 1
            if count != events:
                raise AssertionError(f"{count} events were read, and {events} stored")
            return peak_mebibytes() - before

    return asyncio.run(read())
