"""Converts a partitioned table into a plain one, online.

A trigger records the number of each row that is written from now on. Meanwhile all rows are copied, in short
transactions; then the recorded ones are copied again, and the last of them while the table is locked. Partitions that
an interrupted drop has detached are attached again: only `prune` knows which of their rows have to stay.
"""

from contextlib import suppress

import asyncpg

from swarm_persistence.engines.sql.postgres.connection import Connection
from swarm_persistence.engines.sql.postgres.online import in_short_transaction
from swarm_persistence.engines.sql.postgres.part_attaching import (
    attach_again,
    detached_parts,
    is_being_unpartitioned,
    lock_part,
)
from swarm_persistence.engines.sql.postgres.table_shapes import TableShape, execute_all, shape_of
from swarm_persistence.schema.tables import SEQUENCE

_BATCH = 10_000
_OWN_TRIGGERS = ("enter_partition", "refuse_known", "note_write")

_NOTE_WRITE = """
CREATE FUNCTION {whole}_note_write() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF TG_OP <> 'INSERT' THEN
    INSERT INTO {whole}_writes (sequence) VALUES (OLD.sequence);
  ELSE
    INSERT INTO {whole}_writes (sequence) VALUES (NEW.sequence);
  END IF;
  RETURN NULL;
END
$$
"""
_COPY = """
WITH copied AS (
  INSERT INTO {whole} SELECT * FROM {table} WHERE sequence > $1 ORDER BY sequence LIMIT $2 RETURNING sequence
)
SELECT coalesce(max(sequence), 0) FROM copied
"""
_TAKE_NOTED = """
DELETE FROM {whole}_writes
WHERE ctid = ANY(ARRAY(SELECT ctid FROM {whole}_writes LIMIT $1))
RETURNING sequence
"""

_FINALIZED = (asyncpg.ObjectNotInPrerequisiteStateError, asyncpg.UndefinedTableError, asyncpg.WrongObjectTypeError)
"""Another process has completed the detach of the partition meanwhile."""


class _DetachedError(Exception):
    """A partition was detached meanwhile."""


class Unpartitioning:
    """Converts one table into a plain one, on a connection of its owner; the schema name is quoted."""

    def __init__(self, connection: Connection, schema: str, name: str, retry_seconds: float) -> None:
        self._connection = connection
        self._schema = schema
        self._name = name
        self._retry_seconds = retry_seconds
        self._table = f"{schema}.{name}"
        self._whole = f"{schema}.{name}_whole"

    async def run(self) -> None:
        """Convert the table; an interrupted attempt is started anew.

        Raises:
            asyncpg.PostgresError: the role does not own the table; or it could not be locked within `retry_seconds`.

        """
        part = await self._a_partition()
        shape = await shape_of(self._connection, self._schema, self._name)
        own = await shape_of(self._connection, self._schema, part)
        indexes = [index for index in shape.indexes if not index.is_unique]
        indexes += [index for index in own.indexes if index.is_unique and not index.is_primary]

        async def begin() -> None:
            # A drop in flight ends before this, or finds the copy.
            await self._connection.run(
                f"SELECT FROM {self._schema}.partitions WHERE parent = $1 FOR UPDATE", (self._name,)
            )
            await execute_all(self._connection, *self._begun(own))

        await in_short_transaction(self._connection, begin, self._retry_seconds)
        await self._attach_all()
        await self._copy_all()
        for index in indexes:
            await self._connection.execute_watched(index.create(self._schema, f"{self._name}_whole"))

        async def convert() -> None:
            await self._connection.execute(f"LOCK TABLE {self._table} IN ACCESS EXCLUSIVE MODE")
            if await detached_parts(self._connection, self._schema, self._name):
                raise _DetachedError
            while await self._copy_noted_here():
                pass
            shape = await shape_of(self._connection, self._schema, self._name)
            await execute_all(self._connection, *self._converted(shape, [index.suffix for index in indexes]))

        while True:
            while await self._copy_noted() == _BATCH:
                pass
            try:
                await in_short_transaction(self._connection, convert, self._retry_seconds)
                return
            except _DetachedError:
                await self._attach_all()

    async def clean_up(self) -> None:
        """Remove what an interrupted attempt has left, if anything; its trigger would go on recording writes."""
        if not await is_being_unpartitioned(self._connection, self._schema, self._name):
            return

        async def remove() -> None:
            await execute_all(self._connection, *self._removed())

        await in_short_transaction(self._connection, remove, self._retry_seconds)

    async def _attach_all(self) -> None:
        for part, is_pending in await detached_parts(self._connection, self._schema, self._name):
            if is_pending:
                with suppress(*_FINALIZED):
                    await self._connection.execute_watched(
                        f"ALTER TABLE {self._table} DETACH PARTITION {self._schema}.{part} FINALIZE"
                    )

            async def attach(part: str = part) -> None:
                borders = await lock_part(self._connection, self._schema, part)
                if borders and (part, False) in await detached_parts(self._connection, self._schema, self._name):
                    await attach_again(self._connection, self._schema, self._name, part, borders)

            await in_short_transaction(self._connection, attach, self._retry_seconds)

    async def _a_partition(self) -> str:
        rows = await self._connection.run(
            "SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid "
            "WHERE inhparent = to_regclass($1) ORDER BY relname LIMIT 1",
            (self._table,),
        )
        return str(rows[0][0])

    def _begun(self, own: TableShape) -> list[str]:
        whole = self._whole
        options = f" WITH ({own.options})" if own.options else ""
        return [
            *self._removed(),
            f"CREATE TABLE {whole} (LIKE {self._table} INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE)"
            f"{options}",
            f"ALTER TABLE {whole} ADD CONSTRAINT {self._name}_whole_pkey PRIMARY KEY ({SEQUENCE})",
            f"CREATE TABLE {whole}_writes ({SEQUENCE} bigint NOT NULL)",
            _NOTE_WRITE.replace("{whole}", whole),
            f"CREATE TRIGGER note_write AFTER INSERT OR UPDATE OR DELETE ON {self._table} "
            f"FOR EACH ROW EXECUTE FUNCTION {whole}_note_write()",
        ]

    def _removed(self) -> list[str]:
        return [
            f"DROP TRIGGER IF EXISTS note_write ON {self._table}",
            f"DROP FUNCTION IF EXISTS {self._whole}_note_write()",
            f"DROP TABLE IF EXISTS {self._whole}, {self._whole}_writes",
        ]

    async def _copy_all(self) -> None:
        # Rows that are inserted from now on are recorded.
        end: int = (await self._connection.run(f"SELECT coalesce(max({SEQUENCE}), 0) FROM {self._table}"))[0][0]
        place = 0
        while place < end:
            rows = await self._connection.run(self._text(_COPY), (place, _BATCH))
            place = rows[0][0] or end

    async def _copy_noted(self) -> int:
        copied = 0

        async def copy() -> None:
            nonlocal copied
            copied = await self._copy_noted_here()

        await in_short_transaction(self._connection, copy, self._retry_seconds)
        return copied

    async def _copy_noted_here(self) -> int:
        noted = [row[0] for row in await self._connection.run(self._text(_TAKE_NOTED), (_BATCH,))]
        numbers = [*{*noted}]
        await self._connection.run(f"DELETE FROM {self._whole} WHERE {SEQUENCE} = ANY($1)", (numbers,))
        await self._connection.run(
            f"INSERT INTO {self._whole} SELECT * FROM {self._table} WHERE {SEQUENCE} = ANY($1)", (numbers,)
        )
        return len(noted)

    def _converted(self, shape: TableShape, suffixes: list[str]) -> list[str]:
        name, table, whole = self._name, self._table, self._whole
        kept = [text for trigger, text in shape.triggers.items() if trigger not in _OWN_TRIGGERS]
        return [
            f"DROP TABLE {table}",
            f"DROP FUNCTION {whole}_note_write()",
            f"DROP TABLE {whole}_writes",
            f"ALTER TABLE {whole} RENAME TO {name}",
            *(f"ALTER INDEX {whole}{suffix} RENAME TO {name}{suffix}" for suffix in ("_pkey", *suffixes)),
            f"ALTER TABLE {table} ADD CONSTRAINT {name}_id_key UNIQUE USING INDEX {name}_id_key",
            *shape.numbering(self._schema),
            *kept,
            *shape.rights(self._schema),
            f"DELETE FROM {self._schema}.partitions WHERE parent = '{name}'",
            f"DELETE FROM {self._schema}.partitioned_tables WHERE name = '{name}'",
        ]

    def _text(self, text: str) -> str:
        return text.replace("{whole}", self._whole).replace("{table}", self._table)
