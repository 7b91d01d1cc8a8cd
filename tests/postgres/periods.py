"""Lets the periods of a partitioned schema pass without waiting for the calendar: what is recorded is moved back."""

import asyncpg

from swarm_persistence import PostgresStorage

_PASS = """
UPDATE {schema}.partitions SET made_at = made_at - interval '40 days', begun_at = begun_at - interval '40 days'
"""


async def pass_a_period(storage: PostgresStorage, admin: asyncpg.Connection) -> None:
    """Let more than a month be over, and the next period begin."""
    await let_time_pass(storage, admin)
    await look(storage, admin)


async def let_time_pass(storage: PostgresStorage, admin: asyncpg.Connection) -> None:
    """Let more than a month be over, which no process has seen yet."""
    await admin.execute(_PASS.replace("{schema}", storage.schema_name))


async def look(storage: PostgresStorage, admin: asyncpg.Connection) -> None:
    """Let a storage see that a period is over, until the next one has begun for all tables."""
    over = f"SELECT count(*) FROM {storage.schema_name}.current_periods() WHERE ends_at <= clock_timestamp()"
    while True:
        await storage._engine.on_a_connection(storage._engine.periods.check)
        if not await admin.fetchval(over):
            return


async def begun_periods(storage: PostgresStorage, admin: asyncpg.Connection) -> list[int]:
    """Return how many periods of events, messages and metrics have begun."""
    text = f"SELECT count(begun_at) FROM {storage.schema_name}.partitions GROUP BY parent ORDER BY parent"
    return [row[0] for row in await admin.fetch(text)]


async def partitions_of(storage: PostgresStorage, admin: asyncpg.Connection, table: str) -> list[str]:
    """Return the names of a table's partitions, as the server knows them, in order."""
    rows = await admin.fetch(
        "SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid "
        "WHERE inhparent = $1::text::regclass ORDER BY length(relname), relname",
        f"{storage.schema_name}.{table}",
    )
    return [str(row[0]) for row in rows]
