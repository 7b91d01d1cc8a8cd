"""Drops partitions all of whose rows are to be deleted, without writing a row, and without work for vacuum.

A partition is detached first, which waits for readers and writers of the table and blocks none of them. Then it is
scanned once more: its rows are counted, and if one was changed meanwhile so that it has to stay, it is attached again.

While a table is converted to a plain one, no partition is dropped, as its rows are being copied.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Any

import asyncpg

from swarm_persistence.engines.sql.postgres.compiler import PostgresCompiler
from swarm_persistence.engines.sql.postgres.connection import Connection
from swarm_persistence.engines.sql.postgres.part_attaching import attach_again, is_being_unpartitioned, lock_part
from swarm_persistence.query.query import Condition, Query
from swarm_persistence.query.text import Marks, where_text
from swarm_persistence.schema.tables import SEQUENCE, Table
from swarm_persistence.schema.values import ColumnValue

# A partition is complete once the sequence has passed it. A detached one is left from an interrupted drop.
_OVER = """
SELECT made.name, inhrelid IS NOT NULL, coalesce(inhdetachpending, false)
FROM {schema}.partitions AS made
CROSS JOIN (SELECT to_regclass($1)::oid AS oid) AS parent
JOIN pg_class ON pg_class.oid = parent.oid
LEFT JOIN pg_inherits ON inhparent = parent.oid AND inhrelid = to_regclass('{schema}.' || made.name)
WHERE made.parent = $2 AND CASE WHEN pg_has_role(relowner, 'USAGE') THEN
  made.upper <= pg_sequence_last_value(pg_get_serial_sequence($1, 'sequence')::regclass) + 1 END
ORDER BY made.lower
"""

_DONE_BY_OTHERS = (
    asyncpg.UndefinedTableError,
    asyncpg.ObjectNotInPrerequisiteStateError,
    asyncpg.WrongObjectTypeError,
    asyncpg.LockNotAvailableError,
)
"""Another process drops the partition, or a transaction blocks the drop: the next call drops it."""


class PartDropping:
    """Drops the partitions of one table whose rows all match one of several lists of conditions."""

    def __init__(
        self,
        connection: Connection,
        compiler: PostgresCompiler,
        table: Table[Any],
        stale: Sequence[tuple[Condition, ...]],
    ) -> None:
        self._connection = connection
        self._table = table
        self._dialect = compiler.dialect
        self._parent = compiler.dialect.table(table)
        marks = Marks(compiler.dialect)
        queries = [Query(table, conditions) for conditions in stale]
        self._is_stale = " OR ".join(f"({where_text(query, marks)})" for query in queries)
        self._values: list[ColumnValue] = []
        for query in queries:
            self._values += compiler.dialect.values(table, query.conditions)

    async def run(self) -> AsyncIterator[int]:
        """Drop the partitions, and yield how many rows each one held.

        Concurrent drops may end in a deadlock. Partitions dropped before it stay dropped, so count their rows before a
        retry.
        """
        schema = self._dialect.schema
        if await is_being_unpartitioned(self._connection, schema, self._table.name):
            return
        found = await self._connection.run(_OVER.replace("{schema}", schema), (self._parent, self._table.name))
        for name, is_attached, is_pending in found:
            try:
                if await self._detach(f"{schema}.{name}", is_attached=is_attached, is_pending=is_pending):
                    yield await self._drop(name)
            except _DONE_BY_OTHERS:
                continue

    async def _detach(self, part: str, *, is_attached: bool, is_pending: bool) -> bool:
        if is_pending:
            await self._connection.execute_watched(f"ALTER TABLE {self._parent} DETACH PARTITION {part} FINALIZE")
            return True
        if not is_attached:
            return True
        look = f"SELECT EXISTS (SELECT FROM {part} WHERE NOT ({self._is_stale}))"
        if (await self._connection.run(look, self._values))[0][0]:
            return False
        await self._connection.execute_watched(f"ALTER TABLE {self._parent} DETACH PARTITION {part} CONCURRENTLY")
        return True

    async def _drop(self, name: str) -> int:
        await self._connection.begin()
        try:
            count = await self._drop_here(name)
            await self._connection.commit()
        except BaseException:
            await self._connection.roll_back()
            raise
        return count

    async def _drop_here(self, name: str) -> int:
        schema = self._dialect.schema
        part = f"{schema}.{name}"
        borders = await lock_part(self._connection, schema, name)
        if borders is None:
            return 0  # another process has dropped it, or turned the table into a plain one
        if await is_being_unpartitioned(self._connection, schema, self._table.name):
            await attach_again(self._connection, schema, self._table.name, name, borders)
            return 0
        count = f"SELECT count(*), count(*) FILTER (WHERE {self._is_stale}), max({SEQUENCE}) FROM {part}"
        ((rows, stale_rows, highest),) = await self._connection.run(count, self._values)
        if rows > stale_rows:
            await attach_again(self._connection, schema, self._table.name, name, borders)
            return 0
        if self._table.floor is not None and highest is not None:
            floor = self._dialect.floor(self._table)
            await self._connection.run(f"UPDATE {floor} SET number = $1 WHERE number < $1", (highest,))
        await self._connection.execute(f"DROP TABLE {part}")
        await self._connection.run(f"DELETE FROM {schema}.partitions WHERE name = $1", (name,))
        return int(rows)
