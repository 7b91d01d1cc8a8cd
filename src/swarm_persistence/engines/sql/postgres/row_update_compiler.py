"""Compiles any number of single-row changes into one statement over arrays."""

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

from swarm_persistence.engines.sql.compiler import Compiler, changes_shape
from swarm_persistence.engines.sql.postgres import id_locks
from swarm_persistence.engines.sql.postgres.dialect import PostgresDialect, hidden
from swarm_persistence.engines.sql.postgres.given_values import GivenMarks, given, types_of
from swarm_persistence.engines.sql.postgres.row_sizes import SizeOf, sizes_at
from swarm_persistence.engines.steps import Change
from swarm_persistence.query.query import Condition, Query
from swarm_persistence.query.text import Marks, listed, quoted, where_text
from swarm_persistence.schema.tables import SEQUENCE, Table
from swarm_persistence.schema.values import ColumnValue

_SIZED_TYPES = frozenset({"text", "json", "bytea"})


class Ending(Enum):
    """The effect of a task's change on the tasks that wait for it."""

    NONE = "none"
    MEETS = "meets"  # dependents no longer wait for it
    UNLESS_AWAITED = "unless awaited"  # it is changed only if it has no dependents


class RowUpdateCompiler(Compiler):
    """Writes the statements of one schema. A query names the id of its row, and what else the row must hold."""

    dialect: PostgresDialect

    def shape(self, query: Query[Any], changes: Mapping[str, Change]) -> object:
        """Return what the text depends on."""
        return self._conditions_shape(query), changes_shape(changes)

    def change_values(self, query: Query[Any], changes: Mapping[str, Change]) -> list[ColumnValue]:
        """Return the values of one change, each of which goes into an array of its own."""
        return [*self._change_values(changes), *self.dialect.values(query.table, query.conditions)]

    def size_of(self, query: Query[Any], changes: Mapping[str, Change]) -> SizeOf[Sequence[Any]]:
        """Return the function that sizes the values of one change in bytes, except numbers and times."""
        types = self._types(query, changes)
        return sizes_at([place for place, name in enumerate(types) if name in _SIZED_TYPES])

    def text(
        self,
        query: Query[Any],
        changes: Mapping[str, Change],
        literals: Sequence[Condition],
        *,
        returned: Sequence[str],
        ending: Ending,
        unless: Sequence[Query[Any]] = (),
    ) -> str:
        """Return the text; it marks one array for each of the values.

        Of each changed row, it gives the columns `returned`, of which the id is one, and last its place.

        What `literals` say stands in the text.
        """
        table, schema = query.table, self.dialect.schema
        columns = GivenMarks(self.dialect)
        change = self._change(table, changes, columns)
        conditions = [where_text(query, columns), *(hidden(self._literal(table, condition)) for condition in literals)]
        conditions += self._guards(unless, Marks(self.dialect))
        choices = {
            "chosen": f"SELECT {SEQUENCE} AS chosen_sequence, id AS chosen_id, given.*\n"
            f"  FROM {given(self._types(query, changes), Marks(self.dialect))}, {self.dialect.table(table)}\n"
            f"  WHERE {' AND '.join(conditions)}\n"
            # All writers lock in the same order, and this statement never waits: it skips locked rows.
            f"  ORDER BY {SEQUENCE}\n  FOR UPDATE OF {table.name} SKIP LOCKED"
        }
        if ending is not Ending.NONE:
            # Nor does it wait for the lock of an id, which a task that was not committed yet holds: see `id_locks`.
            lock = id_locks.lock_of("chosen_id", f"'{self.dialect.table(table)}'::regclass::oid::bigint")
            choices["free"] = f"SELECT * FROM chosen WHERE pg_try_advisory_xact_lock({lock})"
        # A function's own statements see what was committed before the rows were locked, as this statement does not: a
        # link that was stored in between.
        if ending is Ending.UNLESS_AWAITED:
            choices["unawaited"] = f"SELECT * FROM free WHERE NOT {schema}.is_awaited(chosen_id)"
        meeting = f"SELECT {schema}.meet_dependencies(array_agg(id)) FROM changed"
        source = [*choices][-1]
        names = listed(returned)
        chosen = ", ".join(f"{name} AS MATERIALIZED (\n  {text}\n)" for name, text in choices.items())
        changed = f"{change}\nFROM {source}\nWHERE {SEQUENCE} = chosen_sequence\nRETURNING {names}, place"
        if ending is not Ending.MEETS:
            return f"WITH {chosen}\n{changed}"
        return f"WITH {chosen}, changed AS (\n{changed}\n)\nSELECT {names}, ({meeting}), place\nFROM changed"

    def _types(self, query: Query[Any], changes: Mapping[str, Change]) -> list[str]:
        table = query.table
        compared = [
            (condition.field, condition.value)
            for condition in query.conditions
            if not condition.operator.endswith("NULL") and not self.dialect.is_literal(table, condition)
        ]
        return types_of(self.dialect, table, (*changes.items(), *compared))

    def _literal(self, table: Table[Any], condition: Condition) -> str:
        """Return the condition that a column holds one of some values."""
        values: Any = condition.value
        column = table.column(condition.field)
        return f"{quoted(condition.field)} IN ({', '.join(self.dialect.literal(column, value) for value in values)})"
