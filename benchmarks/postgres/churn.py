"""Measures what the life of tasks costs PostgreSQL after a while: `python -m benchmarks.postgres.churn`.

Tasks are stored, claimed and completed beside many that wait and many that are finished; then the same beside another
program's open snapshot, which keeps the server from clearing away what is dead.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg

from benchmarks.machine import describe_machine
from benchmarks.postgres.__main__ import server
from swarm_persistence import PostgresStorage, TaskModel

SCHEMA = "churned"
IN_FLIGHT = 8
AGENTS = 50
TYPES = ("index", "crawl", "embed")
_CLAIMED_OF = TYPES[:2]
"""A worker knows two types; tasks of the third wait on."""

_FILLING = f"""
INSERT INTO {SCHEMA}.tasks (id, task_type, priority, status, assigned_to, payload, retry_count, max_retries,
  dependencies, created_at, updated_at, completed_at, claim_count, fails_with_dependencies, version)
SELECT gen_random_uuid()::text, ('{{{",".join(TYPES)}}}'::text[])[1 + n % {len(TYPES)}], n % 4, $3,
  CASE WHEN $3 = 'completed' THEN 'agent-' || n % {AGENTS} END, '{{"url": "https://example.org/page"}}', 0, 3, '[]',
  now(), now(), CASE WHEN $3 = 'completed' THEN now() END, ($3 = 'completed')::int, true, 1
FROM generate_series($1::bigint, $2::bigint) AS n
"""
_ROWS_AT_ONCE = 50_000

_SIZES = """
SELECT relname, pg_relation_size(oid) FROM pg_class
WHERE oid = $1::text::regclass OR oid IN (SELECT indexrelid FROM pg_index WHERE indrelid = $1::text::regclass)
ORDER BY relkind DESC, relname
"""
_UPDATES = """
SELECT n_tup_upd, n_tup_hot_upd, n_dead_tup, autovacuum_count FROM pg_stat_user_tables WHERE relid = $1::text::regclass
"""


class Moment(NamedTuple):
    """What the server has written, and how large the table is."""

    wal: int
    sizes: dict[str, int]
    updates: int
    hot: int
    dead: int
    vacuums: int


class Churn(NamedTuple):
    """One measurement."""

    seconds: float
    before: Moment
    after: Moment
    claims: list[float]
    """The seconds that each claim took, in order."""

    @property
    def tasks(self) -> int:
        """Return how many tasks were stored, claimed and completed."""
        return len(self.claims)


def main() -> int:
    """Run what the command line asks for."""
    options = _options()
    with server(options.url) as url:
        lines = asyncio.run(measured(url, options))
    print("\n".join(lines))
    return 0


async def measured(url: str, options: argparse.Namespace) -> list[str]:
    """Fill a schema, measure without and with an open snapshot, and return what there is to say."""
    admin = await asyncpg.connect(url)
    try:
        await admin.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")
        async with await PostgresStorage.builder().schema(SCHEMA).max_connections(IN_FLIGHT).build(url) as storage:
            if options.schema_version is not None:
                await storage.migrate_to(options.schema_version)
            version = (await storage.migration_status()).version
            lines = [
                *_circumstances(PostgreSQL=await admin.fetchval("SHOW server_version"), schema=str(version)),
                f"{options.pending:,} pending and {options.finished:,} finished tasks; {IN_FLIGHT} in flight",
            ]
            await _fill(admin, options.pending, options.finished)
            lines += told("nothing else open", await churned(storage, admin, options.minutes * 60))
            async with foreign_snapshot(url):
                lines += told("another program's snapshot open", await churned(storage, admin, options.minutes * 60))
            return lines
    finally:
        await admin.close()


async def churned(storage: PostgresStorage, admin: asyncpg.Connection, seconds: float) -> Churn:
    """Store, claim and complete tasks for so long."""
    before = await _moment(admin)
    claims: list[float] = []
    started = time.perf_counter()

    async def work(number: int) -> None:
        agent = f"agent-{number % AGENTS}"
        while time.perf_counter() - started < seconds:
            await storage.store_task(TaskModel.new(_CLAIMED_OF[number % 2], {"url": "https://example.org/page"}))
            asked = time.perf_counter()
            task = await storage.claim_next_task(agent, task_types=_CLAIMED_OF)
            claims.append(time.perf_counter() - asked)
            if task is None:
                raise RuntimeError("there was nothing left to claim: the measurement means nothing")
            await storage.complete_task(task, {"links": 12})
            number += IN_FLIGHT

    await asyncio.gather(*(work(number) for number in range(IN_FLIGHT)))
    return Churn(time.perf_counter() - started, before, await _moment(admin), claims)


@asynccontextmanager
async def foreign_snapshot(url: str) -> AsyncIterator[None]:
    """Keep a snapshot open, as a backup or a report of another program does."""
    async with AsyncExitStack() as stack:
        connection = await asyncpg.connect(url)
        stack.push_async_callback(connection.close)
        await stack.enter_async_context(connection.transaction(isolation="repeatable_read"))
        await connection.fetchval("SELECT count(*) FROM pg_class")
        yield


def told(title: str, churn: Churn) -> list[str]:
    """Return a measurement as lines."""
    before, after = churn.before, churn.after
    updates, hot = after.updates - before.updates, after.hot - before.hot
    tenth = max(len(churn.claims) // 10, 1)
    lines = [
        "",
        f"{title}: {churn.tasks:,} tasks in {churn.seconds:.0f} s, {churn.tasks / churn.seconds:,.0f}/s",
        f"  WAL a task: {(after.wal - before.wal) / max(churn.tasks, 1):,.0f} bytes",
        f"  updates: {updates:,}, of which HOT {100 * hot / max(updates, 1):.0f} %",
        f"  dead rows: {before.dead:,} -> {after.dead:,}; autovacuum ran {after.vacuums - before.vacuums} times",
        f"  claim, first tenth: {_latency(churn.claims[:tenth])}; last tenth: {_latency(churn.claims[-tenth:])}",
    ]
    for name, size in after.sizes.items():
        lines.append(f"  {name:<24} {before.sizes[name] / 2**20:>8,.1f} -> {size / 2**20:>8,.1f} MiB")
    return lines


def _circumstances(**others: str) -> list[str]:
    with tempfile.TemporaryDirectory() as place:
        machine = describe_machine(Path(place), ("swarm-persistence", "asyncpg"), **others)
    return [
        f"{machine.cpu}, {machine.cores} cores, {machine.memory_gibibytes:g} GiB, {machine.system}, "
        f"{machine.filesystem}, fsync {machine.fsync_microseconds:,.0f} us, load {machine.load:g}",
        ", ".join(f"{name} {version}" for name, version in machine.versions.items()),
    ]


def _latency(claims: Sequence[float]) -> str:
    ordered = sorted(claims)
    return f"p50 {1000 * ordered[len(ordered) // 2]:.1f} ms, p99 {1000 * ordered[len(ordered) * 99 // 100]:.1f} ms"


async def _fill(admin: asyncpg.Connection, pending: int, finished: int) -> None:
    # The finished ones are the older ones, as in a swarm that has run for a while.
    for status, count in (("completed", finished), ("pending", pending)):
        for first in range(1, count + 1, _ROWS_AT_ONCE):
            await admin.execute(_FILLING, first, min(first + _ROWS_AT_ONCE - 1, count), status)
    await admin.execute(f"VACUUM ANALYZE {SCHEMA}.tasks")
    await admin.execute("CHECKPOINT")


async def _moment(admin: asyncpg.Connection) -> Moment:
    table = f"{SCHEMA}.tasks"
    await asyncio.sleep(1.5)  # the server gathers its statistics about once a second
    await admin.execute("SELECT pg_stat_clear_snapshot()")
    wal = await admin.fetchval("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint")
    sizes: list[Any] = await admin.fetch(_SIZES, table)
    counts: Any = await admin.fetchrow(_UPDATES, table)
    return Moment(int(wal), dict(map(tuple, sizes)), *counts)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.postgres.churn", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="how long each of the two measurements takes")
    parser.add_argument("--pending", type=int, default=1_000_000)
    parser.add_argument("--finished", type=int, default=1_000_000)
    parser.add_argument("--schema-version", type=int, help="measure this code on an older schema")
    parser.add_argument("--url", help="another server to measure on, whose user may create schemas")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
