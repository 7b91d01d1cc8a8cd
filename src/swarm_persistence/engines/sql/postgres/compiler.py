"""Writes the SQL that only PostgreSQL has: rows as arrays, locks, partitions. `claim_compiler` writes claims."""

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

from swarm_persistence.engines.sql.compiler import restored_names
from swarm_persistence.engines.sql.postgres import id_locks
from swarm_persistence.engines.sql.postgres.claim_compiler import ClaimCompiler
from swarm_persistence.engines.sql.postgres.dialect import CURRENT_CHANGE, INDEXED_CHARACTERS, beginning, type_of
from swarm_persistence.engines.sql.postgres.given_values import may_be_shortened
from swarm_persistence.engines.sql.postgres.migrations.m0010_partitions import INSERTING
from swarm_persistence.engines.steps import LockRows
from swarm_persistence.query.query import Query, unexpired
from swarm_persistence.query.text import Marks, listed, quoted, where_text
from swarm_persistence.schema.tables import (
    CHANGE_NUMBER,
    SEQUENCE,
    TABLES,
    TASK_LINKS,
    TASKS,
    UNMET_DEPENDENCIES,
    Table,
)

_LOCK_TIMEOUT = "100ms"
"""How long a put with a lock timeout waits for a lock."""

WRITING = 1398231634
"""The upper half of the keys of the shared advisory locks of transactions with savepoints: see `following`.

It differs from the keys of other programs, and from that of version 5 of the schema, which ends in 3.
"""

NOTIFYING = 1398231637
"""The upper half of the key of the advisory lock that a commit with a notification holds: see `insert_row`."""

_FULLEST_QUEUE = 0.5
"""How full the server's queue of notifications may be for an insert to add one: a full queue would fail it."""


class Numbering(Enum):
    """How the rows of a put get their sequences."""

    BY_ID = "by id"  # needs no right to the table's sequence
    BY_PLACE = "by place"  # in the order of the given rows
    GIVEN = "given"


class PostgresCompiler(ClaimCompiler):
    """Writes the statements of one schema."""

    def insert_rows(self, table: Table[Any]) -> str:
        """Return the text that adds any number of rows; it marks one array for each column: see `short_arrays_of`."""
        marks = Marks(self.dialect)
        arrays = {column.name: f"{marks.next()}::{type_of(column)}[]" for column in table.columns}
        given = {
            column.name: f"coalesce({quoted(column.name)}, ({arrays[column.name]})[1])"
            if may_be_shortened(column)
            else quoted(column.name)
            for column in table.columns
        }
        insertion, values = self._insert_into(table, given)
        source = f"unnest({', '.join(arrays.values())}) AS added ({listed(given)})"
        return f"{insertion}\nSELECT {values}\nFROM {source}\nRETURNING id, {SEQUENCE}"

    def _insert_into(self, table: Table[Any], given: Mapping[str, str]) -> tuple[str, str]:
        """Return the beginning of an INSERT of these columns, and their expressions; both with the change number."""
        written = {**given, CHANGE_NUMBER: CURRENT_CHANGE} if table.is_followed else given
        return f"INSERT INTO {self.dialect.table(table)} ({listed(written)})", ", ".join(written.values())

    def insert_row(self, table: Table[Any], channel: str) -> str:
        """Return the text that adds one row; it marks the values, and last whether the commit may notify of the row.

        Commits with notifications wait for each other, also for the disk. So only one of these inserts at a time
        notifies; each returns whether it has.
        """
        marks = Marks(self.dialect)
        insertion, values = self._insert_into(table, _marked(table, marks))
        guards = (
            f"{marks.next()}::boolean",
            f"pg_notification_queue_usage() < {_FULLEST_QUEUE}",
            f"pg_try_advisory_xact_lock({NOTIFYING}::bigint << 32)",
        )
        quoted_channel = channel.replace("'", "''")
        return (
            f"WITH added AS (\n  {insertion}\n  VALUES ({values})\n  RETURNING {SEQUENCE}\n)\n"
            f"SELECT {SEQUENCE}, CASE WHEN {' AND '.join(guards)}\n"
            f"  THEN pg_notify('{quoted_channel}', '{table.name}') IS NOT NULL ELSE false END\nFROM added"
        )

    def put_rows(
        self,
        table: Table[Any],
        *,
        if_absent: bool,
        numbering: Numbering,
        marked: int | None = None,
        has_lock_timeout: bool = False,
    ) -> str:
        """Return the text that adds any number of rows, or replaces those of their ids; it marks `put_values`.

        One array for each column comes first, and one of the sequences if they are given. With `marked`, the values of
        so many rows are marked one by one, column by column. Rows are locked in the order of their ids. One with a lock
        timeout fails if it has to wait for longer than a moment.
        """
        marks = Marks(self.dialect)

        def array(of_type: str) -> str:
            if marked is None:
                return f"{marks.next()}::{of_type}[]"
            return f"ARRAY[{', '.join(f'{marks.next()}::{of_type}' for _ in range(marked))}]"

        arrays = [array(type_of(column)) for column in table.columns]
        names = [*table.names]
        columns = [f"added.{quoted(name)}" for name in names]
        sequence = None if numbering is Numbering.BY_ID else f"added.{SEQUENCE}"
        if numbering is Numbering.GIVEN:
            arrays.append(array("bigint"))
            names.append(SEQUENCE)
        source = f"unnest({', '.join(arrays)}) AS added ({listed(names)})"
        if has_lock_timeout:
            source = f"(SELECT set_config('lock_timeout', '{_LOCK_TIMEOUT}', true)) AS lock_timeout,\n  {source}"
        if numbering is not Numbering.BY_PLACE:
            source = f"{source}\nORDER BY added.id"
            return self._put(table, source, columns, marks, if_absent=if_absent, sequence=sequence)
        # Materialized: otherwise, the numbers might be drawn after the rows are sorted.
        given = (
            f"WITH given AS MATERIALIZED (\n  SELECT *, {self._next_number(table)} AS {SEQUENCE}\n  FROM {source}\n)"
        )
        source = "given AS added\nORDER BY added.id"
        return f"{given}\n{self._put(table, source, columns, marks, if_absent=if_absent, sequence=sequence)}"

    def draw_numbers(self, table: Table[Any]) -> str:
        """Return the text that draws as many sequence numbers as its placeholder says."""
        return f"SELECT {self._next_number(table)}\nFROM generate_series(1, $1)"

    def _next_number(self, table: Table[Any]) -> str:
        return f"nextval('{self.dialect.numbers(table)}')"

    def restore(self, table: Table[Any], keeps_sequence: bool) -> str:
        """Return the text that adds any number of rows with their hidden columns; it marks one array for each."""
        marks = Marks(self.dialect)
        names = restored_names(table, keeps_sequence)
        arrays = ", ".join(f"{marks.next()}::{type_of(table.column(name))}[]" for name in names)
        insertion, values = self._insert_into(table, {name: f"added.{quoted(name)}" for name in names})
        added = f"added ({listed((*names, 'arrival'))})"
        return f"{insertion}\nSELECT {values}\nFROM unnest({arrays}) WITH ORDINALITY AS {added}\nORDER BY arrival"

    def insert_one_unless(self, table: Table[Any], field: str) -> str:
        """Return the text that adds a row unless another one has its value in this field; it returns the sequence."""
        marks = Marks(self.dialect)
        mark_of = _marked(table, marks)
        insertion, values = self._insert_into(table, mark_of)
        # The read before saves the number that a refused row would use up; the conflict covers concurrent inserts.
        found = f"SELECT 1 FROM {self.dialect.table(table)} WHERE {field} = {mark_of[field]}"
        return (
            f"{insertion}\nSELECT {values}\nWHERE NOT EXISTS ({found})\n"
            f"ON CONFLICT ({field}) WHERE {field} IS NOT NULL DO NOTHING\nRETURNING {SEQUENCE}"
        )

    def insert_one_unless_held(self, table: Table[Any], field: str) -> tuple[str, str]:
        """Return the text that adds a row unless another has its value in this field, and one that looks for such rows.

        ON CONFLICT cannot be used: unique indexes of a partitioned table belong to its partitions. The first text
        returns the sequence or 0, and whether a row had the value before; the other whether a row has a value, and an
        id.
        """
        mark_of = _marked(table, Marks(self.dialect))
        name = self.dialect.table(table)
        found = f"SELECT FROM {name} WHERE {field} = "
        text = (
            f"WITH added AS (\n  INSERT INTO {name} ({listed(mark_of)})\n  SELECT {', '.join(mark_of.values())}\n"
            f"  WHERE NOT EXISTS ({found}{mark_of[field]})\n  ON CONFLICT DO NOTHING\n  RETURNING {SEQUENCE}\n)\n"
            f"SELECT coalesce((SELECT {SEQUENCE} FROM added), 0), EXISTS ({found}{mark_of[field]})"
        )
        marks = Marks(self.dialect)
        return text, f"SELECT EXISTS ({found}{marks.next()}), EXISTS (SELECT FROM {name} WHERE id = {marks.next()})"

    def save_by_id(self, table: Table[Any]) -> str:
        """Return the text that replaces the row of an id, or adds it, and gives how many rows that were.

        No index says what a conflict is: see `insert_one_unless_held`.
        """
        mark_of = _marked(table, Marks(self.dialect))
        name = self.dialect.table(table)
        written = ", ".join(f"{quoted(column)} = {mark}" for column, mark in mark_of.items() if column != "id")
        return (
            f"WITH replaced AS (\n  UPDATE {name}\n  SET {written}\n  WHERE id = {mark_of['id']}\n  RETURNING 1\n),\n"
            f"added AS (\n  INSERT INTO {name} ({listed(mark_of)})\n  SELECT {', '.join(mark_of.values())}\n"
            "  WHERE NOT EXISTS (SELECT FROM replaced)\n  RETURNING 1\n)\n"
            "SELECT (SELECT count(*) FROM replaced) + (SELECT count(*) FROM added)"
        )

    def lock_tables(self) -> str:
        """Return the text that prevents all tables and partitions from being dropped, and blocks nothing else."""
        return f"LOCK TABLE {', '.join(map(self.dialect.table, TABLES))} IN ACCESS SHARE MODE"

    def make_room(self) -> str:
        """Return the text that lets the partitioned table of a name hold a sequence, and waits for its writers.

        Rows with given sequences may go to any partition, so no other transaction may add the same ids meanwhile.
        """
        schema = self.dialect.schema
        return (
            f"SELECT {schema}.add_partition(name, $2), pg_advisory_xact_lock(({INSERTING}::bigint << 32) "
            f"| ('{schema}.' || name)::regclass::oid::bigint)\nFROM {schema}.partitioned_tables\nWHERE name = $1"
        )

    def read_by_ids(self, table: Table[Any]) -> str:
        """Return the text that reads the rows of any number of ids; it marks one array."""
        marks = Marks(self.dialect)
        chosen = listed(table.record_names)
        text = f"SELECT {chosen}\nFROM {self.dialect.table(table)}\nWHERE id = ANY({marks.next()})"
        conditions = where_text(Query(table, unexpired(table)), marks)
        return f"{text} AND {conditions}" if conditions else text

    def ids_values(self, table: Table[Any], ids: Sequence[str]) -> Sequence[Any]:
        """Return what `read_by_ids` marks."""
        return [ids, *self.dialect.values(table, unexpired(table))]

    def lock_rows(self, step: LockRows) -> tuple[str, Sequence[Sequence[str]]]:
        """Return the text that locks rows by their ids, and its two arrays."""
        key = ("lock rows", step.table.name, step.skips_missing)
        text = self._texts.get(key)
        if text is None:
            text = self._texts[key] = id_locks.lock_text(
                self.dialect.table(step.table), skips_missing=step.skips_missing
            )
        return text, (step.shared, step.exclusive)

    _times_of_heads = 3

    def _next_head(self, query: Query[Any], fields: Sequence[str], marks: Marks) -> str:
        field = query.order[0].field
        head = self._head(query, fields, marks, lambda: f"heads.{quoted(field)}")
        return f"  SELECT next.* FROM heads CROSS JOIN LATERAL (\n{head}\n  ) AS next"

    def _of_heads(self, query: Query[Any], fields: Sequence[str], marks: Marks) -> str:
        """Return the text that reads the heads, and the first row of each value that shares a long prefix with one."""
        field = quoted(query.order[0].field)
        is_long = f"char_length(heads.{field}) >= {INDEXED_CHARACTERS}"
        name, where = self.dialect.table(query.table), where_text(query, marks)
        begins_alike = f"{beginning(field)} = {beginning(f'heads.{field}')}"
        order = ", ".join((field, *map(self.dialect.order, query.full_order[1:])))
        return (
            f"SELECT each.*\nFROM heads CROSS JOIN LATERAL (\n  SELECT {listed(fields, 'heads.')} WHERE NOT {is_long}\n"
            f"  UNION ALL\n  (SELECT DISTINCT ON ({field}) {listed(fields)} FROM {name}\n"
            f"  WHERE {where} AND {is_long} AND {begins_alike}\n  ORDER BY {order})\n) AS each"
        )

    def insert_dependents(self) -> str:
        """Return the text that locks the tasks that new ones refer to, and inserts these with their links.

        Its first three arrays are those of `lock_rows`, and all dependencies, whether these are new or not; one
        for each column of the links and of the tasks follows. It adds nothing if a task waits for a new one already,
        or a dependency has failed. A link that is there already is that of a stored task, which the insert refuses.
        """
        schema, marks = self.dialect.schema, Marks(self.dialect)
        _, alone, dependencies = (f"{marks.next()}::text[]" for _ in range(3))
        links, tasks = self.dialect.table(TASK_LINKS), self.dialect.table(TASKS)
        link_arrays = ", ".join(f"{marks.next()}::{type_of(column)}[]" for column in TASK_LINKS.columns)
        task_arrays = ", ".join(f"{marks.next()}::{type_of(column)}[]" for column in TASKS.columns)
        link_names, task_names = listed(TASK_LINKS.names), listed(TASKS.names)
        return f"""\
WITH{id_locks.held_text(tasks)},
  looked AS MATERIALIZED (
    SELECT {schema}.completed_among({dependencies}, {alone}, count(lock)) AS completed FROM held
  ),
  unmet AS MATERIALIZED (
    SELECT link.* FROM unnest({link_arrays}) AS link ({link_names}), looked WHERE dependency_id <> ALL (completed)
  ),
  linked AS (
    INSERT INTO {links} ({link_names})
    SELECT * FROM unmet
    ON CONFLICT (id) DO NOTHING
  ),
  counted AS (
    SELECT task_id, count(*) AS number FROM unmet GROUP BY task_id
  )
INSERT INTO {tasks} ({task_names}, {UNMET_DEPENDENCIES}, {CHANGE_NUMBER})
SELECT added.*, coalesce(number, 0), {CURRENT_CHANGE}
FROM looked CROSS JOIN unnest({task_arrays}) AS added ({task_names}) LEFT JOIN counted ON task_id = id
WHERE completed IS NOT NULL
RETURNING id, {SEQUENCE}"""

    def mark_as_writer(self) -> str:
        """Return the text that makes watchers wait for this transaction, even if it rolls back all of its writes."""
        oid = f"'{self.dialect.table(TASKS)}'::regclass::oid::bigint"
        return f"SELECT pg_advisory_xact_lock_shared(({WRITING}::bigint << 32) | {oid})"


def _marked(table: Table[Any], marks: Marks) -> dict[str, str]:
    """Return a placeholder of its type for each column."""
    return {column.name: f"{marks.next()}::{type_of(column)}" for column in table.columns}
