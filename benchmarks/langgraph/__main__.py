"""Measures LangGraph's checkpoints and memory, and documents, beside their peers; prints and keeps the rates."""

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from benchmarks.isolation import barrier, preload, run_isolated, run_together
from benchmarks.langgraph import documents, graphs, stores
from benchmarks.langgraph.document import text_of, write_document
from benchmarks.langgraph.postgres_savers import postgres_saver
from benchmarks.langgraph.savers import NOTHING, OURS, THEIRS, sqlite_saver, sqlite_store
from benchmarks.machine import describe_machine, sqlite_versions
from benchmarks.postgres.__main__ import new_database, server, server_version
from benchmarks.results import RATE, Results, Row

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "langgraph.json"
DOCUMENT = ROOT / "docs" / "performance-langgraph.md"
_PACKAGES = (
    "swarm-persistence",
    "apsw",
    "asyncpg",
    "langgraph",
    "langgraph-checkpoint-sqlite",
    "langgraph-checkpoint-postgres",
    "aiosqlite",
    "psycopg",
)
PROCESSES = 4
NODES = "nodes per second"
RECORDS = "records per second"


class Scale(NamedTuple):
    """How much is measured, and for how long."""

    seconds: float
    latest_of: int
    """Checkpoints of the thread whose latest one is read."""
    deleted: int
    """Checkpoints of a thread that is deleted."""
    items: int
    """Items of the store that are read and searched."""
    documents: int
    """Documents that are read."""


FULL = Scale(1.0, 5_000, 1_000, 2_000, 5_000)


class Case(NamedTuple):
    """One figure of one peer."""

    workload: str
    peer: str
    in_flight: int
    unit: str = RATE


PEERS = (OURS, THEIRS)
TURNS = {"graphs-sqlite": 3}
"""Cases that a round measures more than once: one garbage collection more or less takes a tenth of their second."""
CASES = (
    *(Case("graphs-sqlite", peer, number, NODES) for number in (1, 50) for peer in (*PEERS, NOTHING)),
    *(Case("graphs-postgres", peer, number, NODES) for number in (1, 50) for peer in PEERS),
    *(Case("latest", peer, 1) for peer in PEERS),
    *(Case("delete", peer, 1) for peer in PEERS),
    *(Case("processes", peer, PROCESSES, NODES) for peer in PEERS),
    *(Case("get", peer, number) for number in (1, 100) for peer in (OURS, "task")),
    *(Case("put", peer, 1, RECORDS) for peer in (OURS, "apsw")),
    *(Case(f"store-{verb}", peer, number) for verb in ("put", "get") for number in (1, 100) for peer in PEERS),
    *(Case(f"store-{verb}", peer, 1) for verb in ("filter", "vectors") for peer in PEERS),
)


def main() -> int:
    """Run what the command line asks for."""
    options = _options()
    cases = [case for case in CASES if not options.only or case.workload in options.only]
    scale = FULL._replace(seconds=options.seconds)
    with server(None) as url, tempfile.TemporaryDirectory(prefix=".benchmarks-", dir=options.directory) as place:
        results = asyncio.run(run(url, Path(place), cases, options.rounds, scale))
    print("\n".join(text_of(results)))
    if not options.only:
        results.write(RESULTS)
        write_document(results, DOCUMENT)
    return 0


async def run(url: str, place: Path, cases: Sequence[Case], rounds: int, scale: Scale) -> Results:
    """Measure every case once a round, or as often as its workload is to be, in a new random order."""
    preload("benchmarks.langgraph.graphs")  # and what it imports, not all that is measured here
    started = time.monotonic()
    machine = describe_machine(place, _PACKAGES, **sqlite_versions(), PostgreSQL=await server_version(url))
    shuffle = random.Random(20260101)  # the same in every run
    turns = [TURNS.get(case.workload, 1) for case in cases]
    measured: dict[Case, list[float]] = {case: [] for case in cases}
    for number in range(rounds):
        print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
        for case in shuffle.sample(cases, sum(turns), counts=turns):
            with tempfile.TemporaryDirectory(dir=place) as folder:
                measured[case].append(await _measure(case, url, Path(folder) / "measured.db", scale))
    rows = [Row(case.workload, case.peer, case.in_flight, values, case.unit) for case, values in measured.items()]
    finished_at = datetime.now(UTC).isoformat(timespec="seconds")
    return Results("langgraph", rounds, finished_at, time.monotonic() - started, machine, rows)


async def _measure(case: Case, url: str, path: Path, scale: Scale) -> float:
    if case.workload.startswith("store-"):
        return await _store(case, path, scale)
    return await _MEASURES[case.workload](case, url, path, scale)


async def _graphs_on_sqlite(case: Case, _: str, path: Path, scale: Scale) -> float:
    return await run_isolated(graphs.sqlite_rate, case.peer, str(path), case.in_flight, scale.seconds)


async def _graphs_on_postgres(case: Case, url: str, _: Path, scale: Scale) -> float:
    async with new_database(url) as own_url, postgres_saver(case.peer, own_url) as saver:
        return await graphs.nodes_rate(saver, case.in_flight, scale.seconds)


async def _latest(case: Case, _: str, path: Path, scale: Scale) -> float:
    async with sqlite_saver(case.peer, path) as saver:
        await graphs.fill(saver, "long", scale.latest_of)
        return await graphs.latest_rate(saver, "long", scale.seconds)


async def _delete(case: Case, _: str, path: Path, scale: Scale) -> float:
    async with sqlite_saver(case.peer, path) as saver:
        for thread in ("before", "deleted", "later"):
            await graphs.fill(saver, thread, scale.deleted if thread == "deleted" else 10, has_writes=True)
        return await graphs.deletion_rate(saver, "deleted")


async def _processes(case: Case, _: str, path: Path, scale: Scale) -> float:
    gate = barrier(case.in_flight)
    calls = [(case.peer, str(path), gate, number, scale.seconds) for number in range(case.in_flight)]
    try:
        return sum(await run_together(graphs.process_rate, calls))
    except RuntimeError as error:  # what a process has raised
        if case.peer == OURS:
            raise
        print(f"LangGraph's saver in {case.in_flight} processes: {error}", file=sys.stderr)
        return 0.0


async def _get(case: Case, _: str, path: Path, scale: Scale) -> float:
    return await documents.get_rate(case.peer, path, case.in_flight, scale.seconds, scale.documents)


async def _put(case: Case, _: str, path: Path, scale: Scale) -> float:
    return await documents.put_rate(case.peer, path, scale.seconds)


async def _store(case: Case, path: Path, scale: Scale) -> float:
    verb = case.workload.removeprefix("store-")
    async with sqlite_store(case.peer, path, has_vectors=verb == "vectors") as store:
        await stores.fill(store, scale.items)
        return await stores.store_rate(store, verb, case.in_flight, scale.seconds, scale.items)


_MEASURES: dict[str, Callable[[Case, str, Path, Scale], Awaitable[float]]] = {
    "graphs-sqlite": _graphs_on_sqlite,
    "graphs-postgres": _graphs_on_postgres,
    "latest": _latest,
    "delete": _delete,
    "processes": _processes,
    "get": _get,
    "put": _put,
}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.langgraph", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=FULL.seconds, help="how long each measurement takes")
    workloads = list(dict.fromkeys(case.workload for case in CASES))
    parser.add_argument("--only", action="append", choices=workloads, help="this only, and keep nothing")
    parser.add_argument("--directory", default=".", help="where the measured files lie (default: here)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
