"""Compiles what PostgreSQL does in its own way: rows in arrays, claims that step over each other, locks."""

from collections.abc import Mapping
from typing import Any

from swarm_persistence.engines.interface import Change
from swarm_persistence.engines.sql.compiler import Compiled, Compiler, changes_shape, restored_names
from swarm_persistence.engines.sql.postgres.dialect import CURRENT_CHANGE, PostgresDialect, type_of
from swarm_persistence.query.query import Query
from swarm_persistence.query.text import Marks
from swarm_persistence.schema.tables import CHANGE_NUMBER, SEQUENCE, TASKS, Table

_LOOKING = 1398231633
"""The upper half of the numbers of these advisory locks, so that they are no other program's."""

WRITING = 1398231634
"""The same of the shared locks of transactions that write in nested ones: see `following`."""


class PostgresCompiler(Compiler):
    """Writes the statements of one schema."""

    dialect: PostgresDialect

    def insert_rows(self, table: Table[Any]) -> str:
        """Return the text that adds any number of rows; it marks one array for each column."""
        marks = Marks(self.dialect)
        arrays = ", ".join(f"{marks.next()}::{type_of(column)}[]" for column in table.columns)
        names, values = [*table.names], ["added.*"]
        if table.is_followed:
            names.append(CHANGE_NUMBER)
            values.append(CURRENT_CHANGE)
        head = f"INSERT INTO {self.dialect.table(table)} ({', '.join(names)})"
        return f"{head}\nSELECT {', '.join(values)}\nFROM unnest({arrays}) AS added\nRETURNING id, {SEQUENCE}"

    def restore(self, table: Table[Any], keeps_sequence: bool) -> str:
        """Return the text that adds any number of rows with their hidden columns; it marks one array for each."""
        marks = Marks(self.dialect)
        names = restored_names(table, keeps_sequence)
        arrays = ", ".join(f"{marks.next()}::{type_of(table.column(name))}[]" for name in names)
        values = [f"added.{name}" for name in names]
        added = f"added ({', '.join((*names, 'arrival'))})"
        if table.is_followed:
            names, values = [*names, CHANGE_NUMBER], [*values, CURRENT_CHANGE]
        return (
            f"INSERT INTO {self.dialect.table(table)} ({', '.join(names)})\nSELECT {', '.join(values)}\n"
            f"FROM unnest({arrays}) WITH ORDINALITY AS {added}\nORDER BY arrival"
        )

    def insert_one_unless(self, table: Table[Any], field: str) -> str:
        """Return the text that adds a row if no other one holds its value in this field; it gives the sequence."""
        marks = Marks(self.dialect)
        mark_of = {column.name: f"{marks.next()}::{type_of(column)}" for column in table.columns}
        names, values = [*mark_of], [*mark_of.values()]
        if table.is_followed:
            names.append(CHANGE_NUMBER)
            values.append(CURRENT_CHANGE)
        # The look before saves the number that a refused row would use up; the conflict is for those who come at once.
        found = f"SELECT 1 FROM {self.dialect.table(table)} WHERE {field} = {mark_of[field]}"
        return (
            f"INSERT INTO {self.dialect.table(table)} ({', '.join(names)})\nSELECT {', '.join(values)}\n"
            f"WHERE NOT EXISTS ({found})\n"
            f"ON CONFLICT ({field}) WHERE {field} IS NOT NULL DO NOTHING\nRETURNING {SEQUENCE}"
        )

    def read_by_ids(self, table: Table[Any]) -> str:
        """Return the text that reads the rows of any number of ids; it marks one array."""
        chosen = ", ".join((*table.stored_names, SEQUENCE))
        return f"SELECT {chosen}\nFROM {self.dialect.table(table)}\nWHERE id = ANY({Marks(self.dialect).next()})"

    def claim(self, query: Query[Any], changes: Mapping[str, Change]) -> Compiled:
        """Return the text that changes the first of a query's rows that nobody else is about to change."""
        key = ("claim", self._shape(query), changes_shape(changes))
        text = self._texts.get(key)
        if text is None:
            text = self._texts[key] = self._claim_text(query, changes)
        return text, [*self._values(query), *self._change_values(changes)]

    def hold(self, query: Query[Any]) -> Compiled:
        """Return the text that locks the rows that fulfil a query's conditions against change."""
        key = ("hold", query.table.name, self._conditions_shape(query))
        text = self._texts.get(key)
        if text is None:
            # Everybody locks in the same order.
            clauses = ["SELECT 1", *self._from(query, Marks(self.dialect)), f"ORDER BY {SEQUENCE}", "FOR SHARE"]
            text = self._texts[key] = "\n".join(clauses)
        return text, self.dialect.values(query.table, query.conditions)

    def lock(self, table: Table[Any]) -> str:
        """Return the text that keeps everybody else from writing to a table."""
        return f"LOCK TABLE {self.dialect.table(table)} IN SHARE ROW EXCLUSIVE MODE"

    def turn_to_look(self, table: Table[Any]) -> str:
        """Return the text that waits for those who look into a table, and may add to it, until they have committed."""
        return f"SELECT pg_advisory_xact_lock(({_LOOKING}::bigint << 32) | {self._oid(table)})"

    def mark_as_writer(self) -> str:
        """Return the text that lets watchers wait for this transaction, even if it has undone all that it wrote."""
        return f"SELECT pg_advisory_xact_lock_shared(({WRITING}::bigint << 32) | {self._oid(TASKS)})"

    def _oid(self, table: Table[Any]) -> str:
        return f"'{self.dialect.table(table)}'::regclass::oid::bigint"

    def _claim_text(self, query: Query[Any], changes: Mapping[str, Change]) -> str:
        marks = Marks(self.dialect)
        chosen = [f"SELECT {SEQUENCE} AS claimed", *self._from(query, marks), *self._order_and_bounds(query, marks)]
        # Materialized: a plan that runs the choice twice would lock, and change, more rows than were asked for.
        # Who asks for one row by its id wants no other one, and waits for it.
        is_one = any(condition.field == "id" and condition.operator == "=" for condition in query.conditions)
        choice = "\n  ".join((*chosen, "FOR UPDATE" if is_one else "FOR UPDATE SKIP LOCKED"))
        change = self._change(query.table, changes, marks)
        returned = ", ".join((*query.table.stored_names, SEQUENCE))
        return (
            f"WITH chosen AS MATERIALIZED (\n  {choice}\n)\n{change}\nFROM chosen\n"
            f"WHERE {SEQUENCE} = claimed\nRETURNING {returned}"
        )
