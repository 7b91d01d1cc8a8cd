"""Measures on a PostgreSQL server that it starts itself, durable as a real one; prints and keeps the rates."""

import argparse
import asyncio
import json
import platform
import statistics
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.postgres.peers import PEERS, SCHEMA
from benchmarks.postgres.rounds import rate_of
from swarm_persistence import PostgresStorage, TaskModel

RESULTS = Path(__file__).resolve().parents[1] / "results" / "postgres.json"

VERBS = ("insert", "get", "store_many", "claim_next")
IN_FLIGHT = {"insert": (1, 100), "get": (1, 100), "store_many": (1,), "claim_next": (1, 16)}
BULK = 10_000


def main() -> int:
    """Run what the command line asks for."""
    options = _options()
    with server(options.url) as url:
        rows = asyncio.run(measure(url, options.only or VERBS, options.rounds, options.seconds))
    for row in rows:
        print(f"{row['verb']:>12} {row['in_flight']:>4} in flight  {row['title']:<26} {row['rate']:>10,.0f} /s")
    if not options.only:
        machine = {"platform": platform.platform(), "python": platform.python_version()}
        finished = datetime.now(UTC).isoformat(timespec="seconds")
        RESULTS.write_text(json.dumps({"finished_at": finished, "machine": machine, "rows": rows}, indent=1) + "\n")
    return 0


@contextmanager
def server(url: str | None) -> Iterator[str]:
    """Give the URL of the server to measure on."""
    if url is not None:
        yield url
        return
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))
    from postgres.servers import embedded_programs, new_server

    with new_server(embedded_programs(), is_durable=True) as own:
        yield own.url()


async def measure(url: str, verbs: tuple[str, ...], rounds: int, seconds: float) -> list[dict[str, Any]]:
    """Return the median rate of each peer that knows a verb. The peers take turns, so that a slow minute hits all."""
    rates: dict[tuple[str, int, str], list[float]] = {}
    async with await PostgresStorage.builder().schema(SCHEMA).build(url):
        pass  # the tables, which the others use too
    for _ in range(rounds):
        for key, (_, open_peer) in PEERS.items():
            async with open_peer(url) as peer:
                for verb in verbs:
                    if verb in peer:
                        for in_flight in IN_FLIGHT[verb]:
                            rate = await _rate(peer, verb, in_flight, seconds)
                            rates.setdefault((verb, in_flight, key), []).append(rate)
    return [
        {"verb": verb, "in_flight": in_flight, "peer": key, "title": PEERS[key][0], "rate": statistics.median(each)}
        for (verb, in_flight, key), each in sorted(
            rates.items(), key=lambda item: (VERBS.index(item[0][0]), item[0][1])
        )
    ]


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
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0, help="how long each measurement takes")
    parser.add_argument("--only", action="append", choices=VERBS, help="this verb only, and keep nothing")
    parser.add_argument("--url", help="an empty database of another server to measure on")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
