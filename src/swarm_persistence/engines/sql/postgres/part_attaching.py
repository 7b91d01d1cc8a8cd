"""Attaches partitions again that an interrupted or refused drop has detached."""

from swarm_persistence.engines.sql.postgres.connection import Connection
from swarm_persistence.schema.tables import SEQUENCE

_DETACHED = """
SELECT made.name, coalesce(inhdetachpending, false)
FROM {schema}.partitions AS made
LEFT JOIN pg_inherits ON inhparent = to_regclass($1) AND inhrelid = to_regclass('{schema}.' || made.name)
WHERE made.parent = $2 AND coalesce(inhdetachpending, true)
ORDER BY made.lower
"""


async def detached_parts(connection: Connection, schema: str, table: str) -> list[tuple[str, bool]]:
    """Return the partitions of a table that are detached, or about to be (`True`). The schema name is quoted."""
    rows = await connection.run(_DETACHED.replace("{schema}", schema), (f"{schema}.{table}", table))
    return [(str(name), bool(is_pending)) for name, is_pending in rows]


async def lock_part(connection: Connection, schema: str, part: str) -> tuple[int, int] | None:
    """Lock a partition against being attached or dropped, and return its bounds; `None` if it was dropped."""
    rows = await connection.run(f"SELECT lower, upper FROM {schema}.partitions WHERE name = $1 FOR UPDATE", (part,))
    return (int(rows[0][0]), int(rows[0][1])) if rows else None


async def is_being_unpartitioned(connection: Connection, schema: str, table: str) -> bool:
    """Return whether the table is being turned into a plain one."""
    return bool((await connection.run("SELECT to_regclass($1) IS NOT NULL", (f"{schema}.{table}_whole",)))[0][0])


async def attach_again(connection: Connection, schema: str, table: str, part: str, borders: tuple[int, int]) -> None:
    """Attach a partition that this transaction has locked."""
    lower, upper = borders
    await connection.execute(
        f"ALTER TABLE {schema}.{table} ATTACH PARTITION {schema}.{part} "
        f"FOR VALUES FROM ({lower or 'MINVALUE'}) TO ({upper})"
    )
    if await is_being_unpartitioned(connection, schema, table):
        # A copy in progress has not seen these rows.
        await connection.run(
            f"INSERT INTO {schema}.{table}_whole_writes ({SEQUENCE}) SELECT {SEQUENCE} FROM {schema}.{part}"
        )
