"""Measures what it takes to prune old events, row by row and by dropping their partition: seconds, and bytes of WAL."""

import argparse
import asyncio
import time
from datetime import timedelta

import asyncpg

from benchmarks.postgres.__main__ import server
from swarm_persistence import PostgresStorage

_FILL = """
INSERT INTO {schema}.events (id, event_type, agent_id, data, timestamp)
SELECT 'event-' || n, 'type-' || n % 50, 'agent-' || n % 100, json_build_object('step', n, 'text', repeat('x', 100)),
  now() - interval '90 days'
FROM generate_series(1, $1::bigint) AS n
"""
# What a month does: the partition was made and begun long ago.
_PASS = """
UPDATE {schema}.partitions SET made_at = made_at - interval '60 days', begun_at = begun_at - interval '60 days'
"""


def main() -> None:
    """Measure both, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--url", help="a database to measure in (default: a server of its own)")
    options = parser.parse_args()
    with server(options.url) as url:
        asyncio.run(_measure(url, options.events))


async def _measure(url: str, events: int) -> None:
    admin = await asyncpg.connect(url)
    try:
        for schema, is_partitioned in (("by_row", False), ("by_partition", True)):
            builder = PostgresStorage.builder().schema(schema)
            if is_partitioned:
                builder = builder.partition_by("month")
            async with await builder.build(url) as storage:
                await admin.execute(_FILL.replace("{schema}", schema), events)
                await admin.execute(f"VACUUM ANALYZE {schema}.events")
                if is_partitioned:
                    await admin.execute(_PASS.replace("{schema}", schema))
                    assert await admin.fetchval(f"SELECT {schema}.begin_partition('events')")
                await admin.execute("CHECKPOINT")
                before = await admin.fetchval("SELECT pg_current_wal_insert_lsn()")
                started = time.perf_counter()
                pruned = await storage.prune(timedelta(days=30))
                seconds = time.perf_counter() - started
                wal = float(await admin.fetchval("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), $1)", before))
                assert pruned.events == events
                print(f"{schema}: {events:,} events in {seconds:.2f} s, {wal / 1e6:,.1f} MB of WAL", flush=True)
            await admin.execute(f"DROP SCHEMA {schema} CASCADE")
    finally:
        await admin.close()


if __name__ == "__main__":
    main()
