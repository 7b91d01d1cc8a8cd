"""Measures beside `ruv-swarm-persistence`, the Rust crate whose methods the library has; cargo builds it."""

import argparse
import asyncio
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import NamedTuple

from benchmarks.machine import describe_machine, sqlite_versions
from benchmarks.peers.peer import Work
from benchmarks.peers.swarm import Swarm
from benchmarks.records import agent_name, make_events, make_tasks
from benchmarks.results import Results, Row
from benchmarks.rust.document import text_of, write_document
from swarm_persistence import TaskModel

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "rust.json"
DOCUMENT = ROOT / "docs" / "performance-rust.md"
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", HERE / "target"))
_CRATE_VERSION = "1.0.5"
_STORED, _PENDING, _CLAIMABLE, _EVENTS = 5_000, 100, 15_000, 200_000
SWARM, PUBLISHED, DURABLE = "swarm", "rust", "rust-durable"


class Case(NamedTuple):
    """A verb by a peer, and how many are in flight."""

    verb: str
    in_flight: int
    peer: str


# As published, one connection of the crate's pool does not wait for the disk; reads do not wait for it anyway.
CASES = (
    *(Case("insert", number, peer) for number in (1, 10, 100) for peer in (SWARM, PUBLISHED, DURABLE)),
    *(Case("claim", 1, peer) for peer in (SWARM, PUBLISHED, DURABLE)),
    *(Case("get", number, peer) for number in (1, 100) for peer in (SWARM, PUBLISHED)),
    *(Case("pending", 1, peer) for peer in (SWARM, PUBLISHED)),
)


def main() -> int:
    """Build the crate, measure, and write the page."""
    options = _options()
    program = build()
    with tempfile.TemporaryDirectory(prefix=".benchmarks-", dir=options.directory) as place:
        results = run(program, Path(place), options.rounds, options.seconds)
    print("\n".join(text_of(results)))
    if not options.dry:
        results.write(RESULTS)
        write_document(results, DOCUMENT)
    return 0


def build() -> Path:
    """Build the program that uses the crate."""
    cargo = shutil.which("cargo")
    if cargo is None:
        raise SystemExit("the Rust crate needs cargo; install Rust, or on Debian: apt-get install cargo")
    command = [cargo, "build", "--release", "--locked", "--quiet", "--target-dir", str(TARGET)]
    subprocess.run(command, cwd=HERE, check=True)
    return TARGET / "release" / "rust-peer"


def run(program: Path, place: Path, rounds: int, seconds: float) -> Results:
    """Measure every case once a round, in a new random order."""
    started = time.monotonic()
    cargo = subprocess.run(["cargo", "--version"], capture_output=True, text=True, check=True).stdout.split()[1]
    machine = describe_machine(
        place,
        ("swarm-persistence", "apsw", "msgspec"),
        **sqlite_versions(),
        **{"ruv-swarm-persistence": _CRATE_VERSION, "cargo": cargo},
    )
    templates = _templates(program, place)
    shuffle = random.Random(20260101)  # the same in every run
    measured: dict[Case, list[float]] = {case: [] for case in CASES}
    for number in range(rounds):
        print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
        for case in shuffle.sample(CASES, len(CASES)):
            file = place / "copy.db"
            shutil.copyfile(templates[case.peer == SWARM, case.verb == "claim"], file)
            subprocess.run(["sync", str(file)], check=True)
            ours = case.peer == SWARM
            measured[case].append(
                asyncio.run(_ours(case, file, seconds)) if ours else _crates(case, program, file, seconds)
            )
            for left in place.glob("copy.db*"):
                left.unlink()
    rows = [Row(case.verb, case.peer, case.in_flight, values) for case, values in measured.items()]
    finished_at = datetime.now(UTC).isoformat(timespec="seconds")
    return Results("full", rounds, finished_at, time.monotonic() - started, machine, rows)


def _templates(program: Path, place: Path) -> dict[tuple[bool, bool], Path]:
    """Make the files that are copied: of the library or of the crate, with few or only pending tasks."""
    files = {}
    for is_for_claims, (number, pending) in ((False, (_STORED, _PENDING)), (True, (_CLAIMABLE, _CLAIMABLE))):
        files[True, is_for_claims] = ours = place / f"swarm-{number}.db"
        asyncio.run(Swarm().fill(str(ours), make_tasks(number, pending)))
        files[False, is_for_claims] = theirs = place / f"rust-{number}.db"
        subprocess.run([program, "fill", theirs, str(number), str(pending)], check=True)
    return files


class _SwarmOfTasks(Swarm):
    """Reads tasks."""

    async def open(self, path: str) -> None:
        await super().open(path)
        self.get = self.storage.get_task  # type: ignore[assignment]


async def _ours(case: Case, file: Path, seconds: float) -> float:
    peer = _SwarmOfTasks()
    await peer.open(str(file))
    try:
        ids = [task.id for task in await peer.storage.get_pending_tasks()] if case.verb == "claim" else []
        if case.verb == "get":
            ids = [task.id async for task in peer.storage.repository(TaskModel).iterate()]
        outcome = await peer.run(_works(case, ids), case.in_flight, seconds)
    finally:
        await peer.close()
    return outcome.rate


def _works(case: Case, ids: list[str]) -> Iterator[Work]:
    match case.verb:
        case "insert":
            return (Work("insert", event) for event in make_events(_EVENTS))
        case "claim":
            return (Work("claim", (id, agent_name(place))) for place, id in enumerate(ids))
        case "get":
            return (Work("get", ids[place * 2654435761 % len(ids)]) for place in count())
    return (Work("pending", place) for place in count())


def _crates(case: Case, program: Path, file: Path, seconds: float) -> float:
    words = ["run", str(file), case.verb, str(case.in_flight), str(seconds)]
    command = [str(program), *words, *(["durable"] if case.peer == DURABLE else [])]
    done, took = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return int(done) / float(took)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rust", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--directory", default=".", help="where the measured files lie (default: here)")
    parser.add_argument("--dry", action="store_true", help="write nothing")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
