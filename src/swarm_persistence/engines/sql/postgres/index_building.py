"""Builds and drops indexes concurrently, also those of partitioned tables, for which PostgreSQL has no such command.

The index of a partitioned table is created for the table only, which takes no time. Each partition gets its own index
concurrently, which is attached to it; with the last one, it becomes valid. A unique index would have to contain the
partition key: so each partition has its own, and triggers of the table keep rows unique over all of them.
"""

import asyncpg

from swarm_persistence.engines.sql.postgres import online
from swarm_persistence.engines.sql.postgres.connection import Connection
from swarm_persistence.engines.sql.postgres.migrations.migration import CreateIndex, DropIndex
from swarm_persistence.engines.sql.postgres.periods import PARTITIONABLE

_IS_PARTITIONED = "SELECT EXISTS (SELECT FROM pg_class WHERE oid = to_regclass($1) AND relkind IN ('p', 'I'))"

_PARTITIONS = """
SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid WHERE inhparent = to_regclass($1) ORDER BY 1
"""
_UNATTACHED = """
SELECT relname
FROM pg_inherits AS parts JOIN pg_class ON pg_class.oid = parts.inhrelid
WHERE parts.inhparent = to_regclass($1) AND NOT EXISTS (
  SELECT FROM pg_index JOIN pg_inherits AS attached ON attached.inhrelid = indexrelid
  WHERE indrelid = pg_class.oid AND attached.inhparent = to_regclass($2)
)
ORDER BY 1
"""

_GONE = (asyncpg.UndefinedTableError, asyncpg.UndefinedObjectError, asyncpg.InvalidObjectDefinitionError)
"""Errors that mean that a partition was detached or dropped meanwhile, or that a statement is wrong."""


async def build_index(connection: Connection, schema: str, index: CreateIndex, retry_seconds: float) -> None:
    """Build an index concurrently, unless a valid one exists.

    Raises:
        asyncpg.PostgresError: a lock was not available within `retry_seconds`, or the statement failed.

    """
    table = f'"{schema}".{index.table}'
    if not (await connection.run(_IS_PARTITIONED, (table,)))[0][0]:
        await online.build_index(connection, schema, index, retry_seconds)
    elif index.is_unique:
        # A partition that is created meanwhile has the unique indexes of the one before.
        for part in await _names(connection, _PARTITIONS, table):
            await _build_for(connection, schema, index, part, retry_seconds)
    else:
        await _build_partitioned(connection, schema, index, retry_seconds)


async def drop_index(connection: Connection, schema: str, index: DropIndex, retry_seconds: float) -> None:
    """Drop an index concurrently, also one that an interrupted build has left."""
    whole = f'"{schema}".{index.name}'
    if (await connection.run(_IS_PARTITIONED, (whole,)))[0][0]:
        # PostgreSQL cannot drop it concurrently; with all tables locked, only the catalog changes.
        async def drop() -> None:
            await connection.execute(f"DROP INDEX IF EXISTS {whole}")

        await online.in_short_transaction(connection, drop, retry_seconds)
    else:
        await online.drop_index(connection, schema, index, retry_seconds)
    for table in sorted(PARTITIONABLE):
        if index.name.startswith(f"{table}_"):
            for part in await _names(connection, _PARTITIONS, f'"{schema}".{table}'):
                own = DropIndex(_name_for(part, table, index.name))
                await online.drop_index(connection, schema, own, retry_seconds)


async def _build_partitioned(connection: Connection, schema: str, index: CreateIndex, retry_seconds: float) -> None:
    table, whole = f'"{schema}".{index.table}', f'"{schema}".{index.name}'
    definition = index.definition.replace("ON ", "ON ONLY ", 1).replace("{schema}", f'"{schema}"')

    async def begin() -> None:
        await connection.execute(f"CREATE INDEX IF NOT EXISTS {index.name} {definition}")

    # From now on, each partition that is attached to the table gets this index.
    await online.in_short_transaction(connection, begin, retry_seconds)
    for part in await _names(connection, _UNATTACHED, table, whole):
        own = await _build_for(connection, schema, index, part, retry_seconds)
        if own is None:
            continue

        async def attach(own: str = own) -> None:
            await connection.execute(f'ALTER INDEX {whole} ATTACH PARTITION "{schema}".{own}')

        try:
            await online.in_short_transaction(connection, attach, retry_seconds)
        except _GONE:
            if part in await _names(connection, _PARTITIONS, table):
                raise


async def _build_for(
    connection: Connection, schema: str, index: CreateIndex, part: str, retry_seconds: float
) -> str | None:
    """Build the index of one partition, and return its name; `None` if the partition was dropped."""
    name = _name_for(part, index.table, index.name)
    definition = index.definition.replace(f"{{schema}}.{index.table}", f"{{schema}}.{part}", 1)
    try:
        await online.build_index(connection, schema, CreateIndex(name, definition, index.is_unique), retry_seconds)
    except _GONE:
        if part in await _names(connection, _PARTITIONS, f'"{schema}".{index.table}'):
            raise
        return None
    return name


def _name_for(part: str, table: str, index: str) -> str:
    return part + index.removeprefix(table)


async def _names(connection: Connection, text: str, *values: str) -> list[str]:
    return [str(row[0]) for row in await connection.run(text, values)]
