"""Measures on a PostgreSQL server that it starts itself, durable as a real one; prints and keeps the rates."""

import argparse
import asyncio
import random
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg

from benchmarks.machine import describe_machine
from benchmarks.postgres.document import text_of, write_document
from benchmarks.postgres.peers import PEERS, SCHEMA
from benchmarks.postgres.queues import QUEUES
from benchmarks.postgres.rounds import rate_of
from benchmarks.postgres.whole_tasks import AT_ONCE, PROCESSES, TASKS, measure
from benchmarks.results import Results, Row
from benchmarks.workloads import claim_limits
from swarm_persistence import PostgresStorage, TaskModel

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "postgres.json"
DOCUMENT = ROOT / "docs" / "performance-postgres.md"
_PACKAGES = ("swarm-persistence", "asyncpg", "SQLAlchemy", "procrastinate", "pgqueuer", "dbos", "psycopg")

WHOLE_TASKS = "whole_tasks"
VERBS = ("insert", "get", "store_many", "claim_next")
MEASURED = (WHOLE_TASKS, claim_limits.KEY, *VERBS)
IN_FLIGHT = {"insert": (1, 100), "get": (1, 100), "store_many": (1,), "claim_next": (1, 16)}
BULK = 10_000
GROWN = 1_000_000


def main() -> int:
    """Run what the command line asks for."""
    options = _options()
    with server(options.url) as url:
        results = asyncio.run(run(url, options.only or MEASURED, options.rounds, options.seconds))
    print("\n".join(text_of(results)))
    if not options.only:
        results.write(RESULTS)
        write_document(results, DOCUMENT)
    return 0


@contextmanager
def server(url: str | None) -> Iterator[str]:
    """Give the URL of the server to measure on."""
    if url is not None:
        yield url
        return
    sys.path.insert(0, str(ROOT / "tests"))
    from postgres.servers import embedded_programs, new_server

    with new_server(embedded_programs(), is_durable=True, shared_preload_libraries="pg_stat_statements") as own:
        yield own.url()


async def run(url: str, verbs: Sequence[str], rounds: int, seconds: float, grown: int = GROWN) -> Results:
    """Measure whole tasks by each queue's workers, and each peer that knows a verb, once a round."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as place:
        machine = describe_machine(Path(place), _PACKAGES, PostgreSQL=await server_version(url))
    shuffle = random.Random(20260101)  # the same in every run
    whole_tasks = await _whole_tasks(url, rounds, seconds, shuffle) if WHOLE_TASKS in verbs else []
    limited = await _claims_under_limits(url, rounds, seconds, grown) if claim_limits.KEY in verbs else []
    verbs = [verb for verb in verbs if verb in VERBS]
    measurements: dict[tuple[str, int, str], list[float]] = {}
    for number in range(rounds if verbs else 0):
        print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
        for key, (_, open_peer) in shuffle.sample([*PEERS.items()], len(PEERS)):
            async with new_database(url) as own_url, open_peer(own_url) as peer:
                for verb in verbs:
                    if verb in peer:
                        for in_flight in IN_FLIGHT[verb]:
                            rate = await _rate(peer, verb, in_flight, seconds)
                            measurements.setdefault((verb, in_flight, key), []).append(rate)
    order = [*PEERS]
    rows = [
        Row(verb, key, in_flight, rates)
        for (verb, in_flight, key), rates in sorted(
            measurements.items(), key=lambda item: (VERBS.index(item[0][0]), item[0][1], order.index(item[0][2]))
        )
    ]
    finished_at = datetime.now(UTC).isoformat(timespec="seconds")
    return Results("postgres", rounds, finished_at, time.monotonic() - started, machine, whole_tasks + limited + rows)


async def _whole_tasks(url: str, rounds: int, seconds: float, shuffle: random.Random) -> list[Row]:
    """Measure each queue, once a round for each number of processes and of tasks at once."""
    rows: dict[tuple[int, int, str, str], Row] = {}
    kinds = list(product(PROCESSES, AT_ONCE, QUEUES))
    for number in range(rounds):
        for place, (processes, at_once, key) in enumerate(shuffle.sample(kinds, len(kinds)), 1):
            print(f"whole tasks, round {number + 1} of {rounds}: {place} of {len(kinds)}", file=sys.stderr, flush=True)
            async with new_database(url) as own_url:
                whole = await measure(QUEUES[key](own_url), processes, at_once, seconds)
            for unit, figure in whole.by_unit().items():
                row = rows.setdefault(
                    (processes, at_once, key, unit), Row(WHOLE_TASKS, key, at_once, [], unit, processes)
                )
                row.measurements.append(figure)
    order = [*QUEUES]
    return sorted(rows.values(), key=lambda row: (row.size, row.in_flight, order.index(row.peer), row.unit != TASKS))


async def _claims_under_limits(url: str, rounds: int, seconds: float, grown: int) -> list[Row]:
    """Measure claims of the next task under limits, all rounds in one database."""
    async with (
        new_database(url) as own_url,
        await PostgresStorage.builder().schema(SCHEMA).build(own_url) as storage,
    ):
        print(f"{claim_limits.KEY}: {grown:,} pending tasks", file=sys.stderr, flush=True)
        await claim_limits.fill(storage, grown)
        measured = [await claim_limits.measured(storage, grown, claim_limits.CASES, seconds) for _ in range(rounds)]
    return claim_limits.rows_of("swarm", measured)


@asynccontextmanager
async def new_database(url: str) -> AsyncIterator[str]:
    """Give the URL of a new database with the library's tables, so that each peer begins with empty ones."""
    name = f"measured_{uuid.uuid4().hex}"
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(f"CREATE DATABASE {name}")
        try:
            own_url = urlsplit(url)._replace(path=f"/{name}").geturl()
            async with await PostgresStorage.builder().schema(SCHEMA).build(own_url):
                pass  # the tables, which the others use too
            yield own_url
        finally:
            await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await connection.close()


async def server_version(url: str) -> str:
    connection = await asyncpg.connect(url)
    try:
        return str(await connection.fetchval("SHOW server_version"))
    finally:
        await connection.close()


async def _rate(peer: Any, verb: str, in_flight: int, seconds: float) -> float:
    match verb:
        case "insert":
            tasks = [TaskModel.new("measured", {"place": place}) for place in range(int(seconds * 60_000) + 1000)]
            return await rate_of(lambda number: peer["insert"](tasks[number]), in_flight, seconds)
        case "get":
            tasks = _tasks(BULK)
            await peer["store_many"](tasks)
            return await rate_of(lambda number: peer["get"](tasks[number % BULK].id), in_flight, seconds)
        case "store_many":
            return BULK * await rate_of(lambda _: peer["store_many"](_tasks(BULK)), 1, seconds)
    prepare = peer.get("prepare_claims") or peer["store_many"]
    await prepare(_tasks(int(seconds * 20_000) + 1000))
    return await rate_of(peer["claim_next"], in_flight, seconds)


def _tasks(count: int) -> list[TaskModel]:
    return [TaskModel.new("measured", {"place": place}) for place in range(count)]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.postgres", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0, help="how long each measurement takes")
    parser.add_argument("--only", action="append", choices=MEASURED, help="this only, and keep nothing")
    parser.add_argument(
        "--url", help="another server to measure on, with pg_stat_statements, whose user may create databases"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
