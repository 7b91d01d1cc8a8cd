"""Runs the suite: `python -m benchmarks`, or `--quick` for a look in under two minutes."""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.document import write_document
from benchmarks.headline.document import PICTURE, TASKS_RESULTS
from benchmarks.machine import describe_machine, sqlite_versions
from benchmarks.results import Results, Row
from benchmarks.scale import FULL, QUICK, Scale
from benchmarks.site import Site
from benchmarks.table import text_of
from benchmarks.workloads import WORKLOADS, Workload

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
DOCS = ROOT / "docs"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for."""
    options = _options(arguments)
    if options.draw:
        document(Results.read(RESULTS / "full.json"))
        return 0
    scale = QUICK if options.quick else FULL
    chosen = [workload for workload in WORKLOADS if not options.only or workload.key in options.only]
    results = run(scale, chosen, Path(options.directory), _say)
    print(text_of(results))
    if not options.only:
        results.write(RESULTS / f"{scale.name}.json")
        if scale is FULL:
            document(results)
    return 0


def run(scale: Scale, workloads: Sequence[Workload], directory: Path, say: Callable[[str], None]) -> Results:
    """Run workloads and return what they have measured."""
    with tempfile.TemporaryDirectory(prefix=".benchmarks-", dir=directory) as place:
        started = time.monotonic()
        machine = describe_machine(Path(place), **sqlite_versions())
        bench = Bench(scale, Site(Path(place)), say)
        rows = asyncio.run(_run_all(bench, workloads))
        finished_at = datetime.now(UTC).isoformat(timespec="seconds")
        return Results(scale.name, scale.rounds, finished_at, time.monotonic() - started, machine, rows)


def document(results: Results) -> None:
    """Draw the charts and write the page of the documentation."""
    from benchmarks.chart import draw, draw_tasks  # a measured process has no use for a drawing library

    DOCS.mkdir(exist_ok=True)
    tasks = Results.read(TASKS_RESULTS)
    draw(results, DOCS / "performance")
    draw_tasks(tasks, DOCS / PICTURE)
    write_document(results, tasks, DOCS / "performance.md")


async def _run_all(bench: Bench, workloads: Sequence[Workload]) -> list[Row]:
    rows = []
    for workload in workloads:
        rows += await workload.run(bench)
    return rows


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="shorter rounds and fewer of them")
    parser.add_argument(
        "--only",
        action="append",
        choices=[workload.key for workload in WORKLOADS],
        help="run this row only, and write nothing; may be given several times",
    )
    parser.add_argument(
        "--directory", default=".", help="where the measured files lie (default: here); decides which disk is measured"
    )
    parser.add_argument("--draw", action="store_true", help="only write the page and the charts of the last full run")
    return parser.parse_args(arguments)


def _say(progress: str) -> None:
    print(progress, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
