"""Measures whole tasks by workers, ours and others, and renews the top of `docs/performance.md`: `make bench-tasks`."""

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import product
from pathlib import Path

from benchmarks.__main__ import RESULTS as FOLDER
from benchmarks.__main__ import document
from benchmarks.headline.document import AT_ONCE, SQLITE, TASKS_RESULTS, opening
from benchmarks.headline.sqlite_workers import WORKERS, rate_of
from benchmarks.isolation import run_spawned
from benchmarks.machine import describe_machine, sqlite_versions
from benchmarks.postgres.__main__ import WHOLE_TASKS, server
from benchmarks.postgres.__main__ import run as run_on_postgres
from benchmarks.results import Results, Row


def main() -> int:
    """Measure, keep the results, and write the page anew."""
    options = _options()
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix=".benchmarks-", dir=options.directory) as place:
        machine = describe_machine(Path(place), **sqlite_versions())
        rows = run_on_sqlite(Path(place), options.rounds, options.tasks)
    with server(None) as url:
        others = asyncio.run(run_on_postgres(url, (WHOLE_TASKS,), options.rounds, options.seconds))
    machine.versions.update(others.machine.versions)
    finished_at = datetime.now(UTC).isoformat(timespec="seconds")
    results = Results("tasks", options.rounds, finished_at, time.monotonic() - started, machine, rows + others.rows)
    print("\n".join(opening(results)))
    if not options.dry:
        results.write(TASKS_RESULTS)
        document(Results.read(FOLDER / "full.json"))
    return 0


def run_on_sqlite(place: Path, rounds: int, tasks: int) -> list[Row]:
    """Let each queue's worker, in a process of its own, do so many tasks, once a round for each number at once."""
    shuffle = random.Random(20260101)  # the same in every run
    cases: Sequence[tuple[str, int]] = [*product(WORKERS, AT_ONCE)]
    measured: dict[tuple[str, int], list[float]] = {case: [] for case in cases}
    for number in range(rounds):
        print(f"whole tasks on SQLite, round {number + 1} of {rounds}", file=sys.stderr, flush=True)
        for key, at_once in shuffle.sample(cases, len(cases)):
            with tempfile.TemporaryDirectory(dir=place) as own:
                rate = asyncio.run(run_spawned(rate_of, key, own, tasks, at_once))
            measured[key, at_once].append(rate)
    return [Row(SQLITE, key, at_once, rates) for (key, at_once), rates in measured.items()]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.headline", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--tasks", type=int, default=3_000, help="tasks of one measurement on SQLite")
    parser.add_argument("--seconds", type=float, default=1.0, help="of one measurement on PostgreSQL")
    parser.add_argument("--directory", default=".", help="where the measured files lie (default: here)")
    parser.add_argument("--dry", action="store_true", help="write nothing")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
