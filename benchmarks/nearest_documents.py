"""What `nearest_documents` gains by functions of vectors in the database: prints a search's time with and without.

These are sqlite-vec on SQLite, and pgvector on PostgreSQL. Both ways take turns in each round; the time is the median
of the rounds. On PostgreSQL, the first search copies the numbers for pgvector; its time is printed by itself.
"""

import argparse
import asyncio
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, get_args

from benchmarks.machine import describe_machine
from benchmarks.own_server import own_server
from swarm_persistence import DocumentModel, Storage, init_storage
from swarm_persistence.engines.reads import Metric
from swarm_persistence.engines.sql.postgres import statement_compiler as on_postgres
from swarm_persistence.engines.sql.postgres.vectors import may_use_functions
from swarm_persistence.engines.sql.sqlite import statement_compiler as on_sqlite

NOTES = ("notes",)
METRICS: tuple[Metric, ...] = get_args(Metric)
_BATCH = 1000


class Times(NamedTuple):
    """Milliseconds of searches."""

    first: float
    """That of the very first one."""
    by_metric: dict[Metric, tuple[float, float]]
    """Those for the ten nearest, with the functions and without them."""


def switch_sqlite(are_used: bool) -> None:
    """Let sqlite-vec be used, or not."""
    setattr(on_sqlite, "IS_INSTALLED", are_used)  # noqa: B010 - it is not exported


def switch_postgres(are_used: bool) -> None:
    """Let pgvector be used, or not."""
    setattr(on_postgres, "may_use_functions", may_use_functions if are_used else lambda read: False)  # noqa: B010


async def measure(target: str, switch: Callable[[bool], None], documents: int, dimensions: int, rounds: int) -> Times:
    """Measure a search for the ten nearest, with the functions and without."""
    rnd = random.Random(7)

    def vector() -> list[float]:
        return [rnd.gauss(0, 1) for _ in range(dimensions)]

    async def search(storage: Storage, wanted: list[float], metric: Metric, are_used: bool) -> tuple[float, object]:
        switch(are_used)
        start = time.perf_counter()
        found = await storage.nearest_documents(wanted, NOTES, metric=metric)
        return (time.perf_counter() - start) * 1000, found

    times: dict[tuple[Metric, bool], list[float]] = {}
    async with await init_storage(target) as storage:
        for first in range(0, documents, _BATCH):
            numbers = range(first, min(first + _BATCH, documents))
            await storage.put_documents([DocumentModel.new(NOTES, str(each), embedding=vector()) for each in numbers])
        first_time, _ = await search(storage, vector(), METRICS[0], True)
        for _ in range(rounds):
            wanted = vector()
            for metric in METRICS:
                found = []
                for are_used in (True, False):
                    milliseconds, documents_found = await search(storage, wanted, metric, are_used)
                    times.setdefault((metric, are_used), []).append(milliseconds)
                    found.append(documents_found)
                assert found[0] == found[1]
    return Times(
        first_time,
        {each: (statistics.median(times[each, True]), statistics.median(times[each, False])) for each in METRICS},
    )


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=10_000)
    parser.add_argument("--dimensions", type=int, default=384)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    sizes = (options.documents, options.dimensions, options.rounds)
    with tempfile.TemporaryDirectory() as folder, own_server("CREATE EXTENSION vector") as url:
        machine = describe_machine(Path(folder), ("swarm-persistence", "apsw", "sqlite-vec", "asyncpg"))
        found = {
            "sqlite-vec": asyncio.run(measure(str(Path(folder) / "swarm.db"), switch_sqlite, *sizes)),
            "pgvector": asyncio.run(measure(url, switch_postgres, *sizes)),
        }
    print(*machine.lines(), sep="\n")
    print(f"{options.documents} documents of {options.dimensions} dimensions, median of {options.rounds} rounds")
    for name, times in found.items():
        print(f"{name}: the first search {times.first:.1f} ms")
        for metric, (used, unused) in times.by_metric.items():
            print(f"  {metric:10}{used:9.1f} ms with it{unused:9.1f} ms without{unused / used:7.1f} x")


if __name__ == "__main__":
    main()
