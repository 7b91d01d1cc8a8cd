"""Compares a storage behind PgBouncer in transaction mode with one on the server itself, and counts what idle costs."""

import argparse
import asyncio
import random
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from statistics import median
from typing import NamedTuple

import asyncpg

from benchmarks.postgres.__main__ import ROOT
from benchmarks.postgres.rounds import rate_of
from swarm_persistence import AgentModel, PostgresStorage, TaskModel, Worker

SCHEMA = "pooled"
VERBS = ("store_task", "claim and complete", "get_task", "get_tasks_by_agent")
IN_FLIGHT = (1, 8, 50)
_AGENTS = 8


class Rates(NamedTuple):
    """The operations a second of one verb, of each round: on the server itself, and behind the pooler."""

    verb: str
    in_flight: int
    direct: list[float]
    pooled: list[float]

    @property
    def ratio(self) -> float:
        """Return the median of the rounds' ratios: what loads the machine for a round loads both of its halves."""
        return median(pooled / direct for direct, pooled in zip(self.direct, self.pooled, strict=True))


async def compare(urls: tuple[str, str], verbs: Sequence[str], rounds: int, seconds: float) -> list[Rates]:
    """Measure each verb in pairs: on the server itself and behind the pooler, in either order."""
    shuffle = random.Random(20260101)  # the same in every run
    measured = {(verb, count): Rates(verb, count, [], []) for verb in verbs for count in IN_FLIGHT}
    async with AsyncExitStack() as stack:
        storages = [
            await stack.enter_async_context(await PostgresStorage.open(f"{url}?schema={SCHEMA}_{place}"))
            for place, url in enumerate(urls)
        ]
        for storage in storages:
            for place in range(100):
                await storage.store_task(TaskModel.new("read", {"place": place}))
                await storage.claim_next_task(f"agent-{place % _AGENTS}")
        for _ in range(rounds):
            for rates in measured.values():
                pair = [(storages[0], rates.direct), (storages[1], rates.pooled)]
                for storage, kept in shuffle.sample(pair, 2):
                    kept.append(await _rate(storage, rates.verb, rates.in_flight, seconds))
    return [*measured.values()]


async def _rate(storage: PostgresStorage, verb: str, in_flight: int, seconds: float) -> float:
    operation: Callable[[int], Awaitable[object]]
    match verb:
        case "store_task":

            async def operation(number: int) -> None:
                await storage.store_task(TaskModel.new("stored", {"place": number}))

        case "claim and complete":
            await storage.store_many(
                [TaskModel.new("work", {"place": place}) for place in range(int(seconds * 4000) + 200)]
            )

            async def operation(number: int) -> None:
                task = await storage.claim_next_task(f"worker-{number}", task_types=("work",))
                if task is None:
                    raise RuntimeError("there was nothing left to claim: the measurement means nothing")
                await storage.complete_task(task, {"place": number})

        case "get_task":
            found = [task.id for task in await storage.get_tasks_by_agent("agent-0")]

            async def operation(number: int) -> None:
                await storage.get_task(found[number % len(found)])

        case _:

            async def operation(number: int) -> None:
                await storage.get_tasks_by_agent(f"agent-{number % _AGENTS}")

    return await rate_of(operation, in_flight, seconds)


async def count_idle(server_url: str, url: str, seconds: float) -> float:
    """Let a worker wait for tasks that do not come, and return the statements a second, BEGIN and COMMIT included."""
    async with (
        await PostgresStorage.open(f"{url}?schema={SCHEMA}_idle") as storage,
        Worker(storage, AgentModel.new("idle", "worker"), {"work": _work}),
    ):
        await asyncio.sleep(5)  # until it has nothing left to do but to wait
        before = await _count(server_url)
        await asyncio.sleep(seconds)
        after = await _count(server_url)
    return (after - before) / seconds


async def _work(task: TaskModel) -> None:
    raise RuntimeError(f"{task.id}: an idle worker gets no tasks")


async def _count(url: str) -> int:
    connection = await asyncpg.connect(url)
    try:
        # This connection's own statements are counted for another database.
        count: int = await connection.fetchval(
            "SELECT coalesce(sum(calls), 0)::bigint FROM pg_stat_statements JOIN pg_database ON oid = dbid "
            "WHERE datname = 'postgres'"
        )
        return count
    finally:
        await connection.close()


@contextmanager
def _server() -> Iterator[object]:
    from postgres.servers import embedded_programs, new_server

    with new_server(embedded_programs(), is_durable=True, shared_preload_libraries="pg_stat_statements") as server:
        yield server


async def _run(options: argparse.Namespace) -> None:
    from postgres.poolers import new_pooler

    with _server() as server:
        counting = server.url(database="counting")  # type: ignore[attr-defined]
        admin = await asyncpg.connect(server.url())  # type: ignore[attr-defined]
        await admin.execute("CREATE DATABASE counting")
        await admin.close()
        admin = await asyncpg.connect(counting)
        await admin.execute("CREATE EXTENSION pg_stat_statements")
        await admin.close()
        async with new_pooler(server, size=16, max_prepared_statements=options.prepared) as pooler_url:  # type: ignore
            urls = (server.url(), pooler_url)  # type: ignore[attr-defined]
            if options.rounds:
                for rates in await compare(urls, options.only or VERBS, options.rounds, options.seconds):
                    direct, pooled = median(rates.direct), median(rates.pooled)
                    print(
                        f"{rates.verb:>20} {rates.in_flight:>3} in flight  {direct:>9,.0f} /s direct  "
                        f"{pooled:>9,.0f} /s behind PgBouncer  {rates.ratio:.2f} x",
                        flush=True,
                    )
            for name, url in zip(("direct", "behind PgBouncer"), urls, strict=True):
                idle = await count_idle(counting, url, options.idle_seconds)
                print(f"an idle worker, {name}: {idle:.1f} statements/s")


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.postgres.pooler", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.5, help="how long each measurement takes")
    parser.add_argument("--idle-seconds", type=float, default=20.0, help="how long an idle worker is counted")
    parser.add_argument("--only", action="append", choices=VERBS, help="this verb only")
    parser.add_argument("--prepared", type=int, help="PgBouncer's max_prepared_statements, where it knows them")
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT / "tests"))
    asyncio.run(_run(options))


if __name__ == "__main__":
    main()
