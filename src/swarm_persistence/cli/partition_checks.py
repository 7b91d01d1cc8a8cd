"""The checks of `doctor` on partitioned history: overdue periods, detached partitions, interrupted conversions."""

from collections.abc import AsyncIterator, Callable

from swarm_persistence.cli.finding import Finding, advice, ok, wrong
from swarm_persistence.engines.sql.postgres.connection import Connection
from swarm_persistence.engines.sql.postgres.part_attaching import detached_parts, is_being_unpartitioned

_CHECK = "partitions"

# Schemas before version 10 have no partitions.
_ARE_POSSIBLE = "SELECT to_regclass($1) IS NOT NULL"
_PERIODS = """
SELECT table_name, period, to_char(ends_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI'), has_next,
  ends_at < clock_timestamp() - interval '1 hour'
FROM {schema}.current_periods()
ORDER BY table_name
"""


async def examine_partitions(
    connection: Connection, schema: str, command: Callable[[str], str]
) -> AsyncIterator[Finding]:
    """Find overdue periods, partitions that no query reads, and tables between the two layouts.

    `command` returns a command of this package for the schema, quoted for a shell.
    """
    quoted = f'"{schema}"'
    if not (await connection.run(_ARE_POSSIBLE, (f"{quoted}.partitioned_tables",)))[0][0]:
        return
    rows = await connection.run(_PERIODS.replace("{schema}", quoted))
    is_sound = True
    for table, period, end, has_next, is_late in rows:
        async for finding in _examine_table(connection, quoted, table, period, command):
            is_sound = False
            yield finding
        if not has_next:
            is_sound = False
            yield advice(
                _CHECK,
                f"{table} has no partition for the {period} from {end} UTC on: later rows go into the previous one",
                f"run: SELECT {quoted}.add_partition('{table}')",
            )
        elif is_late:
            is_sound = False
            yield advice(
                _CHECK,
                f"{table}: rows still go into the {period} that ended at {end} UTC: no storage has begun the next one",
                f"run: SELECT {quoted}.begin_partition('{table}')",
            )
    if is_sound and rows:
        yield ok(_CHECK, "each table has a partition for the next period, and none is detached")


async def _examine_table(
    connection: Connection, schema: str, table: str, period: str, command: Callable[[str], str]
) -> AsyncIterator[Finding]:
    if await is_being_unpartitioned(connection, schema, table):
        yield advice(
            _CHECK,
            f"{table} is being converted to a plain table, or the conversion was interrupted: until it has ended, no "
            "partition is dropped, and each write is logged for the copy",
            f"if no conversion is running, run `{command('partition --by none')}` again, or "
            f"`{command(f'partition --by {period}')}` to keep the partitions",
        )
    for part, is_pending in await detached_parts(connection, schema, table):
        state = "is about to be detached" if is_pending else "is detached"
        yield wrong(
            _CHECK,
            f"{part} {state} from {table}, since a drop was interrupted: no query finds its rows",
            "call storage.prune() again: it drops the partition, or attaches it again if rows have to be kept",
        )
