"""Finds and replaces change numbers of another server, which a restored dump contains.

A change number is the id of the writing transaction. One that this server has not assigned yet is foreign, and lies
ahead of or among those to come: watchers would wait for it, and then miss what is written.
"""

import asyncpg

from swarm_persistence.engines.sql.postgres.connection import Connection
from swarm_persistence.engines.sql.postgres.dialect import CURRENT_CHANGE

_BATCH = 2000
"""How many rows are locked at a time."""

_NEXT = "pg_snapshot_xmax(pg_current_snapshot())::text::bigint"

_ARE_THERE = "SELECT EXISTS (SELECT FROM {tasks} WHERE change_number >= {next})"
_COUNT = "SELECT count(*) FROM {tasks} WHERE change_number >= {next}"

# In the order of the changes, so that the batches keep it. A row that a worker has locked gets a number from it.
_REPLACE = """
WITH foreign_ones AS MATERIALIZED (
  SELECT sequence AS found
  FROM {tasks}
  WHERE change_number >= {next}
  ORDER BY change_number, sequence
  LIMIT $1
  FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE {tasks}
SET change_number = {current}
FROM foreign_ones
WHERE sequence = found
"""


async def are_foreign(connection: Connection, schema: str) -> bool:
    """Return whether any number is foreign; reads one row of an index."""
    return bool((await connection.run(_text(_ARE_THERE, schema)))[0][0])


async def count_foreign(connection: Connection, schema: str) -> int:
    """Return how many tasks have a foreign number."""
    return int((await connection.run(_text(_COUNT, schema)))[0][0])


async def replace_foreign(connection: Connection, schema: str) -> int:
    """Give these tasks numbers of this server, as if they had been written now; in short writes.

    Raises:
        asyncpg.PostgresError: the role may not write, or the server is read-only.

    """
    replaced = 0
    while count := await connection.count(_text(_REPLACE, schema), (_BATCH,)):
        replaced += count
    return replaced


REFUSALS = (asyncpg.InsufficientPrivilegeError, asyncpg.ReadOnlySQLTransactionError)
"""What `replace_foreign` raises if the role may not write, or the server is read-only."""


def _text(text: str, schema: str) -> str:
    return text.format(tasks=f'"{schema}".tasks', next=_NEXT, current=CURRENT_CHANGE)
