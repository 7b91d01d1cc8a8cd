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
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg

from benchmarks.machine import describe_machine
from benchmarks.postgres.document import write_document
from benchmarks.postgres.peers import PEERS, SCHEMA
from benchmarks.postgres.rounds import rate_of
from benchmarks.results import Results, Row
from swarm_persistence import PostgresStorage, TaskModel

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "postgres.json"
DOCUMENT = ROOT / "docs" / "performance-postgres.md"
_PACKAGES = ("swarm-persistence", "asyncpg", "SQLAlchemy", "procrastinate", "pgqueuer", "psycopg")

VERBS = ("insert", "get", "store_many", "claim_next")
IN_FLIGHT = {"insert": (1, 100), "get": (1, 100), "store_many": (1,), "claim_next": (1, 16)}
BULK = 10_000


def main() -> int:
    """Run what the command line asks for."""
    options = _options()
    with server(options.url) as url:
        results = asyncio.run(run(url, options.only or VERBS, options.rounds, options.seconds))
    for row in results.rows:
        title = PEERS[row.peer][0]
        print(f"{row.workload:>12} {row.in_flight:>4} in flight  {title:<26} {row.median:>10,.0f} /s")
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

    with new_server(embedded_programs(), is_durable=True) as own:
        yield own.url()


async def run(url: str, verbs: Sequence[str], rounds: int, seconds: float) -> Results:
    """Measure each peer that knows a verb, once a round."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as place:
        machine = describe_machine(Path(place), _PACKAGES, PostgreSQL=await _server_version(url))
    measurements: dict[tuple[str, int, str], list[float]] = {}
    shuffle = random.Random(20260101)  # the same in every run
    for number in range(rounds):
        print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
        for key, (_, open_peer) in shuffle.sample([*PEERS.items()], len(PEERS)):
            async with _new_database(url) as own_url, open_peer(own_url) as peer:
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
    return Results("postgres", rounds, finished_at, time.monotonic() - started, machine, rows)


@asynccontextmanager
async def _new_database(url: str) -> AsyncIterator[str]:
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


async def _server_version(url: str) -> str:
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
    await prepare(_tasks(int(seconds * 6_000) + 1000))
    return await rate_of(peer["claim_next"], in_flight, seconds)


def _tasks(count: int) -> list[TaskModel]:
    return [TaskModel.new("measured", {"place": place}) for place in range(count)]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.postgres", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="how long each measurement takes")
    parser.add_argument("--only", action="append", choices=VERBS, help="this verb only, and keep nothing")
    parser.add_argument("--url", help="another server to measure on, whose user may create databases")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
