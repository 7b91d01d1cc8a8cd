"""The checks of `doctor` on a PostgreSQL schema: sequences, dead rows and missing dependencies."""

from collections.abc import AsyncIterator
from typing import Any

from swarm_persistence.cli.finding import Finding, advice, ok, wrong
from swarm_persistence.cli.missing_dependencies import QUERY, missing_dependency
from swarm_persistence.engines.sql.postgres.connection import Connection
from swarm_persistence.engines.sql.postgres.maintenance import advance_sequence
from swarm_persistence.schema.tables import TABLES, Table
from swarm_persistence.storage.task_dependencies import MISSING_AFTER_SECONDS

_SEQUENCE = """
SELECT
  has_sequence_privilege(numbers, 'SELECT') OR has_sequence_privilege(numbers, 'USAGE'),
  coalesce(pg_sequence_last_value(numbers), 0),
  coalesce((SELECT max(sequence) FROM {table}), 0)
FROM CAST(pg_get_serial_sequence('{table}', 'sequence') AS regclass) AS numbers
"""

_TABLES = """
SELECT
  relname, n_live_tup, n_dead_tup, pg_relation_size(relid),
  EXISTS (
    SELECT FROM pg_class
    WHERE pg_class.oid = relid AND reloptions && ARRAY['autovacuum_enabled=false', 'autovacuum_enabled=off']
  ),
  (SELECT sum(avg_width) FROM pg_stats WHERE pg_stats.schemaname = tables.schemaname AND tablename = relname)::float8
FROM pg_stat_user_tables AS tables
WHERE schemaname = $1
ORDER BY relname
"""
_ROW_HEADER_BYTES = 28
LARGE_BYTES = 64 * 1024**2
"""Smaller tables and indexes are not reported."""
_MANY_DEAD_ROWS = 10_000
_LARGEST_TABLE_FACTOR = 4.0


async def examine_dependencies(connection: Connection, schema: str) -> AsyncIterator[Finding]:
    """Find tasks that wait for one that is not stored."""
    old = f"statement_timestamp() - {MISSING_AFTER_SECONDS} * interval '1 second'"
    yield missing_dependency(await connection.run(QUERY.format(prefix=f'"{schema}".', old=old)))


async def examine_sequences(connection: Connection, schema: str, repair: str) -> AsyncIterator[Finding]:
    """Find tables whose sequence is behind their highest number."""
    behind, hidden = [], []
    for table in await _tables_of(connection, schema):
        is_visible, last, highest = await _numbers_of(connection, schema, table.name)
        if not is_visible:
            hidden.append(table.name)
        elif last < highest:
            behind.append(f"the sequence of the {table.name} is at {last:,}, and the table at {highest:,}")
    if behind:
        yield wrong(
            "sequences",
            f"{'; '.join(behind)}, as after a logical replication",
            f"run `{repair}`; the next store into a table also advances its sequence",
        )
    if hidden:
        yield advice(
            "sequences",
            f"this role may not read the sequences of {', '.join(hidden)}",
            await _grant_of_sequences(connection, schema),
        )
    if not behind and not hidden:
        yield ok("sequences", "none is behind its table")


async def repair_sequences(connection: Connection, schema: str) -> list[str]:
    """Advance the sequences that are behind, and return the names of their tables.

    Raises:
        DatabaseError: the role may not do that.

    """
    repaired: list[str] = []
    for table in await _tables_of(connection, schema):
        is_visible, last, highest = await _numbers_of(connection, schema, table.name)
        if is_visible and last < highest:
            await advance_sequence(connection, schema, table.name)
            repaired.append(table.name)
    return repaired


async def examine_dead_rows(connection: Connection, schema: str) -> AsyncIterator[Finding]:
    """Find tables with more dead rows than live ones, or with much unused space."""
    problems = [problem async for problem in _bloated(connection, schema)]
    for problem in problems:
        yield problem
    if not problems:
        yield ok("dead rows", "autovacuum keeps up in every table")


async def _bloated(connection: Connection, schema: str) -> AsyncIterator[Finding]:
    rows: list[Any] = await connection.run(_TABLES, (schema,))
    for name, live, dead, size, is_left_out, width in rows:
        if is_left_out:
            yield wrong(
                "dead rows",
                f"autovacuum is switched off for {name}",
                f'run: ALTER TABLE "{schema}".{name} RESET (autovacuum_enabled)',
            )
        if dead > _MANY_DEAD_ROWS and dead > live:
            yield advice(
                "dead rows",
                f"{name} holds {dead:,} dead rows beside {live:,} live ones",
                f'see the finding `old snapshots`, then run VACUUM (ANALYZE) "{schema}".{name}',
            )
        elif size > LARGE_BYTES and width and size > _LARGEST_TABLE_FACTOR * live * (width + _ROW_HEADER_BYTES):
            yield advice(
                "dead rows",
                f"{name} takes {megabytes(size)} for {live:,} rows of about {width:.0f} bytes",
                f'pg_repack, or VACUUM (FULL) "{schema}".{name} while no worker runs; later rows reuse the space',
            )


async def _grant_of_sequences(connection: Connection, schema: str) -> str:
    ((role,),) = await connection.run("SELECT quote_ident(current_user)")
    return f'run: GRANT SELECT ON ALL SEQUENCES IN SCHEMA "{schema}" TO {role}'


async def _tables_of(connection: Connection, schema: str) -> list[Table[Any]]:
    """Return the tables that the schema has; an earlier version lacks some."""
    rows = await connection.run("SELECT tablename FROM pg_tables WHERE schemaname = $1", (schema,))
    names = {name for (name,) in rows}
    return [table for table in TABLES if table.name in names]


async def _numbers_of(connection: Connection, schema: str, table: str) -> tuple[bool, int, int]:
    ((is_visible, last, highest),) = await connection.run(_SEQUENCE.replace("{table}", f'"{schema}".{table}'))
    return bool(is_visible), last, highest


def megabytes(size: int) -> str:
    """Return a size formatted for output."""
    return f"{size / 1024**2:,.0f} MiB"
