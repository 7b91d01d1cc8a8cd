"""Compiles claims for PostgreSQL: they skip rows that others have locked, follow indexes, and keep their plans."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from swarm_persistence.engines.sql.compiler import Compiler, changes_shape
from swarm_persistence.engines.sql.postgres.claim_branches import (
    INDEX_OF_TYPES,
    Merge,
    bounded_branches,
    bounded_values,
    merge_of,
    of_types,
    power_of_two,
    types_of_claim,
)
from swarm_persistence.engines.sql.postgres.dialect import PostgresDialect, hidden
from swarm_persistence.engines.sql.postgres.given_values import GivenMarks, arrays_of, given, types_of
from swarm_persistence.engines.sql.postgres.statements import Values
from swarm_persistence.engines.sql.query_compiler import Compiled
from swarm_persistence.engines.steps import Change, Claim
from swarm_persistence.query.query import Condition, Query
from swarm_persistence.query.text import Marks, quoted, where_text
from swarm_persistence.schema.tables import SEQUENCE, Kind, Table

BEFORE = """\
SELECT walked_index, pg_stat_get_xact_tuples_returned(walked_index) AS entries
  FROM (VALUES (to_regclass('{index}')::oid)) AS walked (walked_index)"""
_WALKED = "(SELECT pg_stat_get_xact_tuples_returned(walked_index) - entries FROM before)"
"""Counts the entries of the index of types that a claim walks over, by a count before and one after it."""

_ANSWER = """\
SELECT changed.*, CASE WHEN changed.sequence IS NULL THEN
  CASE WHEN EXISTS (SELECT FROM due) THEN 'due'{cut} END
END, pg_relation_size('{table}'), {walked}
FROM (VALUES (1)) AS one LEFT JOIN changed ON true"""


class Choice(NamedTuple):
    """What a choice returns beside the sequences of rows (previous values of columns), and its guards."""

    kept: list[str]
    guards: list[str]

    @property
    def columns(self) -> str:
        """Return the beginning of its text."""
        return ", ".join(
            (f"SELECT {SEQUENCE} AS claimed", *(f"{quoted(name)} AS {before(name)}" for name in self.kept))
        )

    def where(self, conditions: list[str]) -> list[str]:
        """Return the clause of these conditions and its own."""
        every = [*conditions, *self.guards]
        return [f"WHERE {' AND '.join(every)}"] if every else []


def answer_of(table: str, cut: str, *, is_counted: bool) -> str:
    """Return the text of what a claim that stands alone gives."""
    return _ANSWER.format(cut=cut, table=table, walked=_WALKED if is_counted else "NULL::bigint")


def cut_at(most: int) -> str:
    """Return the text that says whether there may be rows behind the first ones."""
    return f" WHEN (SELECT count(*) FROM heads) = {most} THEN 'cut'"


def before(name: str) -> str:
    """Return the name of what a column held before."""
    return f"before_{name}"


def of_head(name: str) -> str:
    """Return the name of a column of a union."""
    return f"head_{name}"


def unknown(limit: int) -> str:
    """Return a limit that the planner cannot see; it assumes a tenth of all rows."""
    return f"(SELECT {limit})"


def bounded(lines: list[str], bound: int | None, is_estimable: bool, marks: Marks) -> list[str]:
    """Return the text of a choice, limited by a number in the text.

    For a limit that it cannot see, the planner assumes a tenth of all rows. So it would plan each claim anew, rather
    than keep a plan that looks expensive, and planning takes as long as the claim itself. If it underestimates the
    number of rows, that tenth is what makes it choose the index.
    """
    if bound is None:
        return lines
    *choice, lock = lines
    choice = [*choice, f"LIMIT {bound if bound == 1 or is_estimable else unknown(bound)}", lock]
    if bound == 1:
        return choice
    # Rows are locked one by one, as this limit asks for them.
    return ["SELECT * FROM (", *(f"  {line}" for line in choice), f") AS first LIMIT {marks.next()}"]


_LARGEST_BOUND = 1024
_OFTEN_HELD = 128
"""How many of the first rows of several types other claims may hold; a server before version 17 reads all of them."""
_OFTEN_HELD_OF_EACH = 32
"""The same above lower bounds, where so many rows of each priority are read."""
_MOST_HELD = 10_000


class ClaimCompiler(Compiler):
    """Writes the claims of one schema."""

    dialect: PostgresDialect

    def claim(self, step: Claim[Any]) -> Compiled:
        """Return the text that changes the first of a query's rows that no other transaction is about to change."""
        return self._claim(step, None, _MOST_HELD, is_alone=False)

    def claim_alone(
        self, step: Claim[Any], due: Query[Any] | None, *, is_wide: bool, bounds: Sequence[int] | None = None
    ) -> Compiled:
        """Return the text of a claim that can be undone, and that takes nothing if the query `due` matches any row.

        Each row comes with the previous values of the changed columns, followed by three columns. The first is null for
        a claimed row; without one it gives the reason: `due` if that query matches, `cut` if there may be rows behind
        all that others hold, which a wide claim finds out. The second is the size of the table: see
        `Connection.note_table_size`. The third is how many entries of the index of types the claim has walked over, or
        null: see `LowerBounds`. With lower bounds, the claim begins at these.
        """
        return self._claim(step, due, _held(is_wide, bounds), bounds=bounds)

    def claim_together(
        self,
        step: Claim[Any],
        changes: Sequence[Mapping[str, Change]],
        due: Query[Any] | None,
        *,
        is_wide: bool,
        bounds: Sequence[int] | None = None,
    ) -> tuple[str, Values]:
        """Return the text of such a claim for several callers: one change for each row, all of one shape.

        Rows are assigned to the changes in order; after its sequence, each has the position of its change, counted from
        1.
        """
        together = msgspec.structs.replace(step, query=msgspec.structs.replace(step.query, limit=len(changes)))
        text, values = self._claim(together, due, _held(is_wide, bounds), is_shared=True, bounds=bounds)
        return text, [*values, *arrays_of(map(self._change_values, changes))]

    def upkeep(self, query: Query[Any], changes: Mapping[str, Change]) -> Compiled:
        """Return the text of a claim that gives no rows."""
        text, values = self.claim(Claim(query, changes))
        return text[: text.rindex("\nRETURNING")], values

    def _claim(
        self,
        step: Claim[Any],
        due: Query[Any] | None,
        held: int,
        *,
        is_alone: bool = True,
        is_shared: bool = False,
        bounds: Sequence[int] | None = None,
    ) -> Compiled:
        query, changes, unless, fields = step.query, step.changes, step.unless, step.fields
        bound = _bound_of(query)
        types = types_of_claim(query) if is_alone else ()
        unbounded = query if bound is None else msgspec.structs.replace(query, limit=None)
        merge = None
        if bounds is not None:
            merge = merge_of(of_types(query, types), fewest=1)
        elif bound is not None:
            merge = merge_of(query)
        parts = (unbounded,) if merge is None else (*merge.branches, merge.rest)
        due_shape = None if due is None else self._conditions_shape(due)
        kind = ("claim", is_alone, is_shared, held, bound, bounds is None, bool(types))
        key = (*kind, unless, fields, due_shape, tuple(map(self._shape, parts)), changes_shape(changes))
        text = self._texts.get(key)
        if text is None:
            marks = Marks(self.dialect)
            tables = {}
            choice = Choice([], [])
            if is_alone:
                tables["due"] = "SELECT WHERE false" if due is None else self._exists_query(due, marks)
                choice = Choice([*changes], ["NOT EXISTS (SELECT FROM due)"])
            choice.guards.extend(self._guards(unless, marks))
            if types:
                tables["before"] = BEFORE.format(index=f"{self.dialect.schema}.{INDEX_OF_TYPES}")
                # Conditions that depend on no row come first.
                choice.guards.append("(SELECT entries FROM before) IS DISTINCT FROM -1")
            if merge is None:
                lines = self._first_rows(unbounded, choice, marks)
            else:
                assert bound is not None
                tables["heads"] = (
                    self._union_of(merge, bound + held, marks)
                    if bounds is None
                    else bounded_branches(self.dialect, len(merge.branches), bound + held, marks)
                )
                lines = self._merged(merge, choice, marks)
            # Materialized: a plan that runs the choice twice would lock, and change, more rows than were asked for.
            tables["chosen"] = "\n  ".join(bounded(lines, bound, self._is_estimable(parts[0]), marks))
            returned = fields or (*query.table.stored_names, SEQUENCE)
            changed = self._changed(query.table, changes, choice, marks, returned, is_shared=is_shared)
            text = "WITH " + ", ".join(f"{name} AS MATERIALIZED (\n  {each}\n)" for name, each in tables.items())
            if is_alone:
                cut = "" if merge is None or bound is None else cut_at(bound + held)
                answer = answer_of(self.dialect.table(query.table), cut, is_counted=bool(types))
                text = f"{text}, changed AS (\n{changed}\n)\n{answer}"
            else:
                text = f"{text}\n{changed}"
            self._texts[key] = text
        values = [] if due is None else self.dialect.values(due.table, due.conditions)
        if bounds is not None:
            values += bounded_values(types, bounds)
            parts = parts[-1:]
        values += [value for part in parts for value in self._values(part)]
        if bound is not None and bound > 1:
            values.append(query.limit)
        return text, values if is_shared else [*values, *self._change_values(changes)]

    def _changed(
        self,
        table: Table[Any],
        changes: Mapping[str, Change],
        choice: Choice,
        marks: Marks,
        fields: Sequence[str],
        *,
        is_shared: bool,
    ) -> str:
        """Return the text that changes the chosen rows and gives these fields of them."""
        source, returned = "chosen", [quoted(name) for name in fields]
        change = self._change(table, changes, GivenMarks(self.dialect) if is_shared else marks)
        if is_shared:
            values = given(types_of(self.dialect, table, changes.items()), marks)
            source = f"(SELECT *, row_number() OVER () AS place FROM chosen) AS placed JOIN {values} USING (place)"
            returned.append("place")
        returned += map(before, choice.kept)
        return f"{change}\nFROM {source}\nWHERE {SEQUENCE} = claimed\nRETURNING {', '.join(returned)}"

    def _first_rows(self, query: Query[Any], choice: Choice, marks: Marks) -> list[str]:
        """Return the text that locks a query's rows in its order."""
        # A claim by id cannot take another row instead, so it waits for the lock.
        is_one = any(condition.field == "id" and condition.operator == "=" for condition in query.conditions)
        lock = "FOR UPDATE" if is_one else "FOR UPDATE SKIP LOCKED"
        return [
            choice.columns,
            f"FROM {self.dialect.table(query.table)}",
            *choice.where(self._conditions(query, marks)),
            *self._order_and_bounds(query, marks),
            lock,
        ]

    def _conditions(self, query: Query[Any], marks: Marks) -> list[str]:
        """Return the texts of a query's conditions.

        The index of types holds ready rows only, in an order that is of no use to a claim of any type. As soon as the
        planner recognizes that all wanted rows are ready, it would read and sort that whole index, so this is hidden
        from it.
        """
        counts = []
        if self._is_estimable(query):
            table = query.table
            counts = [each for each in query.conditions if self._is_literal_count(table, each)]
            query = msgspec.structs.replace(
                query, conditions=tuple(each for each in query.conditions if each not in counts)
            )
        texts = [where_text(query, marks)] if query.conditions else []
        return [*texts, *(f"{each.field} = (SELECT {each.value!r})" for each in counts)]

    def _is_literal_count(self, table: Table[Any], condition: Condition) -> bool:
        return self.dialect.is_literal(table, condition) and table.column(condition.field).kind is Kind.COUNT

    def _union_of(self, merge: Merge, most: int, marks: Marks) -> str:
        """Return the text that merges the first rows of several queries in their common order.

        An index yields the rows of each query in this order. The server takes each row from the query that is ahead,
        and no more than requested. Each query has a limit of its own, without which it would be planned for all of its
        rows.
        """
        order = merge.rest.full_order
        names = dict.fromkeys((SEQUENCE, merge.field, *(term.field for term in order)))
        columns = ", ".join(f"{quoted(name)} AS {of_head(name)}" for name in names)
        limit = f"LIMIT {unknown(most)}"
        branches = [
            " ".join([f"(SELECT {columns}", *self._from(each, marks), *self._order_and_bounds(each, marks), limit])
            + ")"
            for each in merge.branches
        ]
        return "\n  ".join(["\n  UNION ALL ".join(branches), f"ORDER BY {self._order_of_heads(merge)}", limit])

    def _merged(self, merge: Merge, choice: Choice, marks: Marks) -> list[str]:
        """Return the text that locks the rows of a union.

        Each row is locked before the next one is read, so no more are locked than claimed. The conditions are repeated
        here: if a row was changed before it could be locked, the server evaluates this join again with the row of
        `heads` that it has. (A union in place of `heads` would be read in full.) They are hidden from the planner: with
        statistics that are missing, or older than many of the ready rows, it expects a single match, and for each row
        of `heads` would read a whole partial index instead of looking up the sequence.
        """
        table = merge.rest.table
        conditions = [f"{quoted(merge.field)} = {of_head(merge.field)}"]
        if merge.rest.conditions:
            conditions.append(where_text(merge.rest, marks))
        unchanged = hidden(" AND ".join(conditions))
        return [
            choice.columns,
            f"FROM heads JOIN {self.dialect.table(table)} ON {SEQUENCE} = {of_head(SEQUENCE)}",
            *choice.where([unchanged]),
            f"ORDER BY {self._order_of_heads(merge)}",
            f"FOR UPDATE OF {table.name} SKIP LOCKED",
        ]

    def _is_estimable(self, query: Query[Any]) -> bool:
        """Tell whether the planner can estimate how many rows fulfil the conditions.

        It has no statistics for a partial index on an expression, and assumes that one in two hundred rows is equal.
        """
        return not any(self.dialect.has_any_length(condition.field) for condition in query.conditions)

    def _order_of_heads(self, merge: Merge) -> str:
        return ", ".join(of_head(self.dialect.order(term)) for term in merge.rest.full_order)


def _held(is_wide: bool, bounds: Sequence[int] | None) -> int:
    return _OFTEN_HELD_OF_EACH if bounds is not None else _MOST_HELD if is_wide else _OFTEN_HELD


def _bound_of(query: Query[Any]) -> int | None:
    """Return an upper bound of a query's rows, shared by many limits; `None` if the text should have none."""
    if not query.limit or query.limit > _LARGEST_BOUND or query.offset:
        return None
    return power_of_two(query.limit)
