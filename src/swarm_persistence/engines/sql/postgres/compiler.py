"""Compiles what PostgreSQL does in its own way: rows in arrays, claims that step over each other, locks."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from swarm_persistence.engines.interface import Change, Hold
from swarm_persistence.engines.sql.compiler import Compiled, Compiler, changes_shape, restored_names
from swarm_persistence.engines.sql.postgres import id_locks
from swarm_persistence.engines.sql.postgres.dialect import CURRENT_CHANGE, PostgresDialect, type_of
from swarm_persistence.query.heads import heads_of
from swarm_persistence.query.query import Condition, Query
from swarm_persistence.query.text import Marks, where_text
from swarm_persistence.schema.tables import CHANGE_NUMBER, SEQUENCE, TASKS, Table

_LOOKING = 1398231633
"""The upper half of the numbers of these advisory locks, so that they are no other program's."""

_FEWEST_HEADS = 2
_LARGEST_BOUND = 1024

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
        """Return the text that changes the first of a query's rows that no other transaction is about to change."""
        bound = _bound_of(query)
        unbounded = query if bound is None else msgspec.structs.replace(query, limit=None)
        merge = None if bound is None else _merge_of(query)
        parts = (unbounded,) if merge is None else (*merge.heads, merge.rest)
        key = ("claim", bound, tuple(map(self._shape, parts)), changes_shape(changes))
        text = self._texts.get(key)
        if text is None:
            marks = Marks(self.dialect)
            lines = self._first_rows(unbounded, marks) if merge is None else self._merged(merge, marks)
            text = self._texts[key] = self._claim_text(query, _bounded(lines, bound, marks), changes, marks)
        values = [value for part in parts for value in self._values(part)]
        if bound is not None and bound > 1:
            values.append(query.limit)
        return text, [*values, *self._change_values(changes)]

    def hold(self, step: Hold) -> tuple[str, Sequence[Sequence[str]]]:
        """Return the text that holds rows by their ids, and its two arrays."""
        key = ("hold", step.table.name, step.are_stored)
        text = self._texts.get(key)
        if text is None:
            text = self._texts[key] = id_locks.hold_text(self.dialect.table(step.table), are_stored=step.are_stored)
        return text, (step.referred, step.alone)

    def mark_as_writer(self) -> str:
        """Return the text that lets watchers wait for this transaction, even if it has undone all that it wrote."""
        return f"SELECT pg_advisory_xact_lock_shared(({WRITING}::bigint << 32) | {self._oid(TASKS)})"

    def _oid(self, table: Table[Any]) -> str:
        return f"'{self.dialect.table(table)}'::regclass::oid::bigint"

    def _first_rows(self, query: Query[Any], marks: Marks) -> list[str]:
        """Return the text that locks a query's rows in its order."""
        # Who asks for one row by its id wants no other one, and waits for it.
        is_one = any(condition.field == "id" and condition.operator == "=" for condition in query.conditions)
        lock = "FOR UPDATE" if is_one else "FOR UPDATE SKIP LOCKED"
        return [f"SELECT {SEQUENCE} AS claimed", *self._from(query, marks), *self._order_and_bounds(query, marks), lock]

    def _merged(self, merge: "_Merge", marks: Marks) -> list[str]:
        """Return the text that locks the rows of several queries, each of which an index gives in their common order.

        The server takes each row from the query that is ahead, and locks it before it looks for the next one. So no
        more rows are locked than claimed, and none is missed however many of the first ones are locked by others.
        """
        table, order = merge.rest.table, merge.rest.full_order
        names = dict.fromkeys((SEQUENCE, merge.field, *(term.field for term in order)))
        columns = ", ".join(f"{name} AS {_of_head(name)}" for name in names)
        heads = [
            " ".join([f"(SELECT {columns}", *self._from(head, marks), *self._order_and_bounds(head, marks)]) + ")"
            for head in merge.heads
        ]
        # The conditions stand here as well: a row that was changed before it could be locked is looked at again.
        conditions = [f"{merge.field} = {_of_head(merge.field)}"]
        if merge.rest.conditions:
            conditions.append(where_text(merge.rest, marks))
        sorted_by = ", ".join(_of_head(self.dialect.order(term)) for term in order)
        union = "\n    UNION ALL ".join(heads)
        return [
            f"SELECT {SEQUENCE} AS claimed",
            f"FROM (\n    {union}\n  ) AS heads",
            f"JOIN {self.dialect.table(table)} ON {SEQUENCE} = {_of_head(SEQUENCE)}",
            f"WHERE {' AND '.join(conditions)}",
            f"ORDER BY {sorted_by}",
            f"FOR UPDATE OF {table.name} SKIP LOCKED",
        ]

    def _claim_text(self, query: Query[Any], choice: list[str], changes: Mapping[str, Change], marks: Marks) -> str:
        # Materialized: a plan that runs the choice twice would lock, and change, more rows than were asked for.
        chosen = "\n  ".join(choice)
        change = self._change(query.table, changes, marks)
        returned = ", ".join((*query.table.stored_names, SEQUENCE))
        return (
            f"WITH chosen AS MATERIALIZED (\n  {chosen}\n)\n{change}\nFROM chosen\n"
            f"WHERE {SEQUENCE} = claimed\nRETURNING {returned}"
        )


class _Merge(NamedTuple):
    """A query for several values of a field, split into one for each; `rest` are its other conditions."""

    field: str
    heads: list[Query[Any]]
    rest: Query[Any]


def _merge_of(query: Query[Any]) -> _Merge | None:
    heads = heads_of(query)
    if heads is None or len(heads) < _FEWEST_HEADS:
        return None
    heads = [msgspec.structs.replace(head, limit=None) for head in heads]
    pairs = enumerate(zip(query.conditions, heads[0].conditions, strict=True))
    place, condition = next((place, several) for place, (several, one) in pairs if several != one)
    others = (*query.conditions[:place], *query.conditions[place + 1 :])
    # As few texts as possible: what is prepared once serves other numbers of values as well. Null equals nothing.
    nothing = (*query.conditions[:place], Condition(condition.field, "="), *query.conditions[place + 1 :])
    missing = _power_of_two(len(heads)) - len(heads)
    heads += [msgspec.structs.replace(heads[0], conditions=nothing)] * missing
    return _Merge(condition.field, heads, msgspec.structs.replace(query, conditions=others, limit=None))


def _of_head(name: str) -> str:
    return f"head_{name}"


def _bound_of(query: Query[Any]) -> int | None:
    """Return a number that a query's rows do not exceed, the same for many limits; `None` if it should not be told."""
    if not query.limit or query.limit > _LARGEST_BOUND or query.offset:
        return None
    return _power_of_two(query.limit)


def _power_of_two(least: int) -> int:
    return 1 << (least - 1).bit_length()


def _bounded(lines: list[str], bound: int | None, marks: Marks) -> list[str]:
    """Return the text of a choice, bounded by a number in the text.

    Of a limit that it does not know, the planner assumes a tenth of all rows. So it would plan each claim anew, rather
    than keep a plan that looks so dear, and that takes as long as the claim itself.
    """
    if bound is None:
        return lines
    *choice, lock = lines
    choice = [*choice, f"LIMIT {bound}", lock]
    if bound == 1:
        return choice
    # Rows are locked one by one, as this limit asks for them.
    return ["SELECT claimed FROM (", *(f"  {line}" for line in choice), f") AS first LIMIT {marks.next()}"]
