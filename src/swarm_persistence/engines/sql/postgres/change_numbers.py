"""Finds and replaces change numbers of another server, which a restored dump contains.

A change number is the id of the writing transaction. One that this server has not assigned yet is foreign, and lies
ahead of or among those to come: watchers would wait for it, and then miss what is written.
"""

from collections.abc import AsyncIterator, Mapping, Sequence

import asyncpg

from swarm_persistence.engines.sql.postgres.connection import Connection
from swarm_persistence.engines.sql.postgres.dialect import CURRENT_CHANGE
from swarm_persistence.schema.tables import TABLES

_FOLLOWED = tuple(table.name for table in TABLES if table.is_followed)

_BATCH = 2000
"""How many rows are locked at a time."""

_NEXT = "pg_snapshot_xmax(pg_current_snapshot())::text::bigint"

# A schema of an earlier version lacks some of them.
_PRESENT = "SELECT name FROM unnest($1::text[]) AS name WHERE to_regclass(format('%I.%I', $2::text, name)) IS NOT NULL"
_EXIST = "SELECT EXISTS (SELECT FROM {table} WHERE change_number >= {next})"
_COUNT = "SELECT count(*) FROM {table} WHERE change_number >= {next}"

# In the order of the changes, so that the batches keep it. A row that a worker has locked gets a number from it.
_REPLACE = """
WITH foreign_ones AS MATERIALIZED (
  SELECT sequence AS found
  FROM {table}
  WHERE change_number >= {next}
  ORDER BY change_number, sequence
  LIMIT $1
  FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE {table}
SET change_number = {current}
FROM foreign_ones
WHERE sequence = found
"""


async def are_foreign(connection: Connection, schema: str) -> bool:
    """Return whether any number is foreign; reads one row of an index of each table."""
    for table in await _followed(connection, schema):
        if (await connection.run(_text(_EXIST, schema, table)))[0][0]:
            return True
    return False


async def count_foreign(connection: Connection, schema: str) -> Mapping[str, int]:
    """Return how many rows have a foreign number, by table; leaves out tables without any."""
    counts = {
        table: int((await connection.run(_text(_COUNT, schema, table)))[0][0])
        for table in await _followed(connection, schema)
    }
    return {table: count for table, count in counts.items() if count}


async def replace_foreign(connection: Connection, schema: str) -> AsyncIterator[tuple[str, int]]:
    """Give these rows numbers of this server, as if they had been written now; in short writes.

    Yields the table and how many of its rows were written, after each write.

    Raises:
        asyncpg.PostgresError: the role may not write, or the server is read-only.

    """
    for table in await _followed(connection, schema):
        while count := await connection.count(_text(_REPLACE, schema, table), (_BATCH,)):
            yield table, count


REFUSALS = (asyncpg.InsufficientPrivilegeError, asyncpg.ReadOnlySQLTransactionError)
"""What `replace_foreign` raises if the role may not write, or the server is read-only."""


def counted(counts: Mapping[str, int]) -> str:
    """Return counts of rows as text, such as `3 tasks and 1 documents`."""
    return " and ".join(f"{count} {table}" for table, count in counts.items())


async def _followed(connection: Connection, schema: str) -> Sequence[str]:
    """Return the names of the tables whose rows have a change number."""
    return [name for (name,) in await connection.run(_PRESENT, (_FOLLOWED, schema))]


def _text(text: str, schema: str, table: str) -> str:
    return text.format(table=f'"{schema}".{table}', next=_NEXT, current=CURRENT_CHANGE)
