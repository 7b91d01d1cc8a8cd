"""Finds candidates for the nearest vectors by pgvector's functions, so that few vectors leave the server.

A document's `embedding` is `bytea`, of which the server cannot make a `vector`. So a search leaves a copy of what it
has read in `document_vectors`, as numbers, for the next ones: under the change number of the row that it was read from,
which every write replaces, whatever code does it. A row without such a copy may be among the nearest.

The table has arrays of numbers instead of `vector`: it exists before the extension is created and after it is dropped.
"""

import asyncio
import logging
import math
import threading
from collections.abc import Iterator

import asyncpg
import msgspec

from swarm_persistence.engines.reads import NearestCandidates
from swarm_persistence.engines.sql.postgres.connection import Connection
from swarm_persistence.engines.sql.postgres.dialect import PostgresDialect
from swarm_persistence.engines.sql.postgres.execution import ConnectionStatement
from swarm_persistence.engines.sql.single_precision import LONGEST, SHORTEST, bounded_length, relative_error
from swarm_persistence.query.text import Marks, where_text
from swarm_persistence.schema.tables import CHANGE_NUMBER, SEQUENCE
from swarm_persistence.schema.values import numbers_of

MOST_DIMENSIONS = 16_000
"""How many dimensions a `vector` has at most."""

_NUMBERS_AT_ONCE = 32_768
"""How many numbers are copied in one statement: the event loop encodes them within a few milliseconds."""
_ROWS_AT_ONCE = 20_000

_LOOK = """
SELECT
  quote_ident(nspname),
  NOT pg_is_in_recovery() AND current_setting('transaction_read_only') = 'off'
    AND has_table_privilege(copies, 'INSERT') AND has_table_privilege(copies, 'UPDATE')
    AND has_table_privilege($2::text, 'UPDATE')
FROM pg_extension
JOIN pg_namespace ON pg_namespace.oid = extnamespace
CROSS JOIN to_regclass($1::text) AS copies
WHERE extname = 'vector' AND has_schema_privilege(extnamespace, 'USAGE') AND has_table_privilege(copies, 'SELECT')
"""

_log = logging.getLogger(__name__)


class Functions(msgspec.Struct, frozen=True):
    """The schema of pgvector's functions, quoted, and whether this role may copy numbers here."""

    schema: str
    may_copy: bool


class Found(msgspec.Struct, frozen=True):
    """The ids of the candidates, and the number of rows without a copy of their embedding."""

    ids: list[str]
    without_copy: int


class NearestOnServerStatement(ConnectionStatement, eq=False, gc=False):
    """Gives the ids of the rows that may be among the nearest; `None` if the server lacks pgvector."""

    dialect: PostgresDialect
    read: NearestCandidates
    copying: threading.Lock
    """Acquired while a search of this process copies numbers; concurrent searches use the present copies."""

    async def run_on(self, connection: Connection) -> list[str] | None:
        functions = await self._functions(connection)
        if functions is None:
            return None
        found = await self._find(connection, functions)
        # Within a transaction, the copies would be of rows that are perhaps rolled back.
        if found is not None and found.without_copy and functions.may_copy and not connection.is_in_transaction:
            if not self.copying.acquire(blocking=False):
                return found.ids
            try:
                await self._copy_numbers(connection)
            finally:
                self.copying.release()
            found = await self._find(connection, functions)
        return None if found is None else found.ids

    @property
    def _documents(self) -> str:
        return self.dialect.table(self.read.query.table)

    @property
    def _copies(self) -> str:
        return copies_of(self.dialect)

    async def _functions(self, connection: Connection) -> Functions | None:
        rows = await connection.run(_LOOK, (self._copies, self._documents))
        return Functions(rows[0][0], bool(rows[0][1])) if rows else None

    async def _find(self, connection: Connection, functions: Functions) -> Found | None:
        marks = Marks(self.dialect)
        text = self._text(functions.schema, marks)
        query = self.read.query
        values = (
            numbers_of(self.read.vector),
            len(self.read.vector),
            max(self.read.most - 1, 0),
            *self.dialect.values(query.table, query.conditions),
        )
        try:
            ((ids, has_others, without_copy),) = await connection.run(text, values)
        except (asyncpg.UndefinedFunctionError, asyncpg.UndefinedObjectError, asyncpg.InvalidSchemaNameError):
            if connection.is_in_transaction:
                raise
            return None  # the extension was dropped a moment ago
        return None if has_others else Found(ids or [], without_copy)

    def _text(self, schema: str, marks: Marks) -> str:
        vector, size, place = marks.next(), marks.next(), marks.next()
        field, error = self.read.field, relative_error(len(self.read.vector) // 4)
        wanted, near = "(SELECT vector FROM wanted)", "each.vector OPERATOR({}.{}) {}"
        distance = near.format(schema, {"euclidean": "<->", "dot": "<#>", "cosine": "<=>"}[self.read.metric], wanted)
        length = distance if self.read.metric == "euclidean" else f"{schema}.vector_norm(each.vector)"
        score, bound = {
            "euclidean": ("-distance", f"{error} * length"),
            "dot": ("-distance", f"{2 * error * (bounded_length(self.read) or 0)} * length"),
            "cosine": ("1 - distance", f"{error}"),
        }[self.read.metric]
        # A vector whose numbers are too large or too small may have any score. NaN is the largest number here.
        is_bounded = f"length > {SHORTEST} AND length < {LONGEST}"
        return f"""
WITH wanted AS MATERIALIZED (
  SELECT {vector}::real[]::{schema}.vector AS vector
), measured AS MATERIALIZED (
  SELECT id, octet_length({field}) AS size, numbers IS NULL AS is_missing, {distance} AS distance, {length} AS length
  FROM {self._documents}
  LEFT JOIN {self._copies} USING ({SEQUENCE}, {CHANGE_NUMBER})
  CROSS JOIN LATERAL (
    SELECT CASE WHEN octet_length({field}) = {size}::integer THEN numbers::{schema}.vector END AS vector OFFSET 0
  ) AS each
  WHERE {where_text(self.read.query, marks)}
), scored AS MATERIALIZED (
  SELECT
    id, size, is_missing,
    CASE WHEN {is_bounded} THEN {score} - {bound} ELSE '-Infinity' END AS low,
    CASE WHEN {is_bounded} THEN {score} + {bound} ELSE 'Infinity' END AS high
  FROM measured
)
SELECT
  array_agg(id) FILTER (WHERE high >= coalesce(
    (SELECT low FROM scored ORDER BY low DESC LIMIT 1 OFFSET {place}::bigint), '-Infinity'
  )),
  coalesce(bool_or(size <> {size}), false),
  count(*) FILTER (WHERE is_missing)
FROM scored
"""

    async def _copy_numbers(self, connection: Connection) -> None:
        """Copy the numbers of all rows that have no copy."""
        marks = Marks(self.dialect)
        size, after = marks.next(), marks.next()
        text = f"""
SELECT array_agg({SEQUENCE} ORDER BY {SEQUENCE})
FROM (
  SELECT {SEQUENCE}
  FROM {self._documents} LEFT JOIN {self._copies} USING ({SEQUENCE}, {CHANGE_NUMBER})
  WHERE numbers IS NULL AND octet_length({self.read.field}) = {size}::integer AND {SEQUENCE} > {after}::bigint
    AND {where_text(self.read.query, marks)}
  ORDER BY {SEQUENCE}
  LIMIT {_ROWS_AT_ONCE}
) AS missing
"""
        conditions = self.dialect.values(self.read.query.table, self.read.query.conditions)
        last = -1
        while True:
            ((sequences,),) = await connection.run(text, (len(self.read.vector), last, *conditions))
            if not sequences:
                return
            try:
                for few in _parts(sequences, max(_NUMBERS_AT_ONCE * 4 // len(self.read.vector), 1)):
                    await self._copy(connection, few)
            except asyncpg.PostgresError as error:
                # The search is complete without the copies: it reads the rows that have none.
                _log.warning("%s: embeddings were not copied for pgvector (%s)", connection.server, error)
                return
            last = sequences[-1]

    async def _copy(self, connection: Connection, sequences: list[int]) -> None:
        field = self.read.field
        rows = await connection.run(
            f"SELECT {SEQUENCE}, {CHANGE_NUMBER}, {field} FROM {self._documents}\n"
            f"WHERE {SEQUENCE} = ANY($1::bigint[]) AND octet_length({field}) = $2::integer",
            (sequences, len(self.read.vector)),
        )
        await asyncio.sleep(0)  # between decoding the rows and encoding their numbers
        read = [(sequence, change, numbers_of(data)) for sequence, change, data in rows]
        copied = [each for each in read if all(map(math.isfinite, each[2]))]
        dimensions = len(self.read.vector) // 4
        # A delete waits for the lock, and then finds the copy; rows that are being deleted are passed over.
        await connection.run(
            f"""
WITH added AS MATERIALIZED (
  SELECT * FROM unnest($1::bigint[], $2::bigint[]) WITH ORDINALITY AS added ({SEQUENCE}, {CHANGE_NUMBER}, place)
), locked AS MATERIALIZED (
  SELECT {SEQUENCE}, {CHANGE_NUMBER}, place
  FROM {self._documents} JOIN added USING ({SEQUENCE}, {CHANGE_NUMBER})
  ORDER BY {SEQUENCE}
  FOR KEY SHARE OF {self.read.query.table.name} SKIP LOCKED
)
INSERT INTO {self._copies} ({SEQUENCE}, {CHANGE_NUMBER}, numbers)
SELECT {SEQUENCE}, {CHANGE_NUMBER}, ($3::real[])[(place - 1) * {dimensions} + 1:place * {dimensions}]
FROM locked
ORDER BY {SEQUENCE}
ON CONFLICT ({SEQUENCE}) DO UPDATE SET {CHANGE_NUMBER} = excluded.{CHANGE_NUMBER}, numbers = excluded.numbers
""",
            (
                [sequence for sequence, _, _ in copied],
                [change for _, change, _ in copied],
                [number for _, _, numbers in copied for number in numbers],
            ),
        )


def copies_of(dialect: PostgresDialect) -> str:
    """Return the qualified name of the table of copies."""
    return f"{dialect.schema}.document_vectors"


def may_use_functions(read: NearestCandidates) -> bool:
    """Tell whether pgvector can compute with this vector."""
    return len(read.vector) // 4 <= MOST_DIMENSIONS and bounded_length(read) is not None


def _parts(sequences: list[int], size: int) -> Iterator[list[int]]:
    for start in range(0, len(sequences), size):
        yield sequences[start : start + size]
