"""Maintenance of a database: vacuum, checkpoint, size, and sequences that are behind their tables."""

import asyncpg

from swarm_persistence.engines.sql.postgres.connection import Connection
from swarm_persistence.errors import DatabaseError
from swarm_persistence.schema.tables import TABLES

_RIGHTS = """
SELECT bool_and(pg_has_role(relowner, 'USAGE') {or_maintain})
FROM unnest($1::text[]) AS name JOIN pg_class ON pg_class.oid = to_regclass(name)
"""


_SIZE = """
SELECT coalesce(sum(pg_total_relation_size(part)), 0)::bigint
FROM (
  SELECT to_regclass(name) AS part FROM unnest($1::text[]) AS name
  UNION ALL
  SELECT inhrelid FROM unnest($1::text[]) AS name JOIN pg_inherits ON inhparent = to_regclass(name)
) AS parts
"""

# A free number shows that there is nothing to do, or that another process has done it.
_CATCH_UP = """
SELECT CASE WHEN nextval(numbers) <= highest THEN setval(numbers, highest) END
FROM (SELECT pg_get_serial_sequence('{table}', 'sequence')::regclass AS numbers, max(sequence) AS highest FROM {table})
  AS numbered
"""


async def advance_sequence(connection: Connection, schema: str, table: str) -> None:
    """Advance the sequence of a table above the numbers of its rows.

    Raises:
        DatabaseError: the role may not do that.

    """
    try:
        await connection.run(_CATCH_UP.replace("{table}", f'"{schema}".{table}'))
    except asyncpg.InsufficientPrivilegeError as error:
        raise DatabaseError(
            f"{connection.server}: the sequence that numbers the {table} is behind its table, as after a logical "
            "replication, which carries no sequences, and this role may not advance it; store one of them as the role "
            f"that owns the schema, or GRANT UPDATE ON ALL SEQUENCES IN SCHEMA {schema} TO this role (nothing was "
            "stored)"
        ) from error


async def vacuum(connection: Connection, schema: str) -> None:
    """Reclaim the space of deleted rows, online."""
    names = [f'"{schema}".{table.name}' for table in TABLES]
    knows_maintain = connection.driver.get_server_version().major >= 17
    or_maintain = "OR has_table_privilege(pg_class.oid, 'MAINTAIN')" if knows_maintain else ""
    rows = await connection.run(_RIGHTS.replace("{or_maintain}", or_maintain), (names,))
    if not rows[0][0]:
        # PostgreSQL itself would only warn.
        remedy = (
            f"GRANT MAINTAIN ON ALL TABLES IN SCHEMA {schema} TO the role" if knows_maintain else "run it as the owner"
        )
        raise DatabaseError(
            f"{connection.server}: this role may not vacuum the tables; {remedy} (autovacuum goes on anyway)"
        )
    await connection.execute_watched(f"VACUUM (ANALYZE) {', '.join(names)}")


async def checkpoint(connection: Connection) -> None:
    """Run a checkpoint."""
    await connection.execute_watched("CHECKPOINT")


async def size(connection: Connection, schema: str) -> int:
    """Return the size of the tables and their indexes in bytes; the WAL belongs to the whole server."""
    names = [f'"{schema}".{table.name}' for table in TABLES]
    rows = await connection.run(
        _SIZE,
        (names,),
    )
    return int(rows[0][0])
