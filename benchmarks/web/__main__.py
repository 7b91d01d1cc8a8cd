"""Measures a working swarm with and without a loaded server beside it, in turns: `make bench-web`."""

import argparse
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from benchmarks.machine import describe_machine, sqlite_versions
from benchmarks.results import Results, Row
from benchmarks.web.document import (
    ANSWERED,
    FAILED,
    FRAMES,
    IDLE,
    LOADED,
    P50,
    P99,
    TASKS,
    WEB,
    text_of,
    write_document,
)
from benchmarks.web.load import STREAMS, Load

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "web.json"
DOCUMENT = ROOT / "docs" / "performance-web.md"
_PACKAGES = ("swarm-persistence", "litestar", "uvicorn", "msgspec", "apsw")

Process = subprocess.Popen[str]


def main() -> int:
    """Measure, keep the results, and write the page anew."""
    options = _options()
    with tempfile.TemporaryDirectory(prefix=".benchmarks-", dir=options.directory) as place:
        results = run(Path(place), options.rounds, options.seconds)
    print("\n".join(text_of(results)))
    if not options.dry:
        results.write(RESULTS)
        write_document(results, DOCUMENT)
    return 0


def run(place: Path, rounds: int, seconds: float) -> Results:
    """Measure both cases once a round, in a new random order, with the same swarm and server."""
    started = time.monotonic()
    machine = describe_machine(place, _PACKAGES, **sqlite_versions())
    shuffle = random.Random(20260101)  # the same in every run
    path = str(place / "swarm.db")
    rates: dict[str, list[float]] = {IDLE: [], LOADED: []}
    loads: list[Load] = []
    with (
        _program("benchmarks.web.working_swarm", path) as swarm,
        _program("swarm_persistence", "serve", path, "--port", "0") as server,
    ):
        _completed(swarm, 1.0)  # the file is there, and has tasks
        url = _address(server)
        for number in range(rounds):
            print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
            for case in shuffle.sample((IDLE, LOADED), 2):
                if case == IDLE:
                    rates[case].append(_completed(swarm, seconds))
                else:
                    rate, load = _under_load(swarm, url, seconds)
                    rates[case].append(rate)
                    loads.append(load)
    rows = [Row(WEB, case, 0, measured, TASKS) for case, measured in rates.items()]
    finished_at = datetime.now(UTC).isoformat(timespec="seconds")
    return Results("web", rounds, finished_at, time.monotonic() - started, machine, [*rows, *_rows_of(loads)])


def _under_load(swarm: Process, url: str, seconds: float) -> tuple[float, Load]:
    with _program("benchmarks.web.load", url) as clients:
        if _line(clients) != "ready\n":
            raise RuntimeError("the clients could not begin")
        rate = _completed(swarm, seconds)
        answer = clients.communicate()[0]
    return rate, msgspec.json.decode(answer, type=Load)


def _completed(swarm: Process, seconds: float) -> float:
    assert swarm.stdin is not None
    swarm.stdin.write(f"{seconds}\n")
    swarm.stdin.flush()
    return float(_line(swarm))


def _address(server: Process) -> str:
    while line := _line(server):
        if found := re.fullmatch(r"page: (http://.*)/\n", line):
            return found[1]
    raise RuntimeError("the server did not start")


def _line(process: Process) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


@contextmanager
def _program(*command: str) -> Iterator[Process]:
    process = subprocess.Popen(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.communicate()


def _rows_of(loads: list[Load]) -> list[Row]:
    waits = [statistics.quantiles(load.waits, n=100) for load in loads]
    figures = {
        ANSWERED: [load.answered / load.seconds for load in loads],
        FAILED: [float(load.failed) for load in loads],
        P50: [1000 * each[49] for each in waits],
        P99: [1000 * each[98] for each in waits],
        FRAMES: [load.frames / load.seconds for load in loads],
    }
    return [Row(WEB, LOADED, STREAMS, measured, unit) for unit, measured in figures.items()]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.web", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=5.0, help="how long each measurement takes")
    parser.add_argument("--directory", default=".", help="where the measured file lies (default: here)")
    parser.add_argument("--dry", action="store_true", help="write nothing")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
