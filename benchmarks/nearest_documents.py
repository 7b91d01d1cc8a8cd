"""What the extra `vectors` gains `nearest_documents` on SQLite: prints the time of a search with it and without it.

Both take turns in each round; the time is the median of the rounds.
"""

import argparse
import asyncio
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import get_args

from benchmarks.machine import describe_machine
from swarm_persistence import DocumentModel, SqliteStorage
from swarm_persistence.engines.reads import Metric
from swarm_persistence.engines.sql.sqlite import statement_compiler

NOTES = ("notes",)
METRICS: tuple[Metric, ...] = get_args(Metric)
_BATCH = 1000


async def measure(path: Path, documents: int, dimensions: int, rounds: int) -> dict[Metric, tuple[float, float]]:
    """Return the milliseconds of a search for the ten nearest, with the extra and without it."""
    rnd = random.Random(7)

    def vector() -> list[float]:
        return [rnd.gauss(0, 1) for _ in range(dimensions)]

    times: dict[tuple[Metric, bool], list[float]] = {}
    async with await SqliteStorage.open(path) as storage:
        for first in range(0, documents, _BATCH):
            numbers = range(first, min(first + _BATCH, documents))
            await storage.put_documents([DocumentModel.new(NOTES, str(each), embedding=vector()) for each in numbers])
        for _ in range(rounds):
            wanted = vector()
            for metric in METRICS:
                found = []
                for has_extra in (True, False):
                    setattr(statement_compiler, "IS_INSTALLED", has_extra)  # noqa: B010 - it is not exported
                    start = time.perf_counter()
                    found.append(await storage.nearest_documents(wanted, NOTES, metric=metric))
                    times.setdefault((metric, has_extra), []).append((time.perf_counter() - start) * 1000)
                assert found[0] == found[1]
    return {each: (statistics.median(times[each, True]), statistics.median(times[each, False])) for each in METRICS}


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=10_000)
    parser.add_argument("--dimensions", type=int, default=384)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        machine = describe_machine(Path(folder), ("swarm-persistence", "apsw", "sqlite-vec"))
        found = asyncio.run(measure(Path(folder) / "swarm.db", options.documents, options.dimensions, options.rounds))
    print(*machine.lines(), sep="\n")
    print(f"{options.documents} documents of {options.dimensions} dimensions, median of {options.rounds} rounds")
    for metric, (with_extra, without) in found.items():
        print(
            f"  {metric:10}{with_extra:9.1f} ms with sqlite-vec{without:9.1f} ms without{without / with_extra:7.1f} x"
        )


if __name__ == "__main__":
    main()
