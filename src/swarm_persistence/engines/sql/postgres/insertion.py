"""Statements that insert rows: many at once, as arrays, and into tables that may be partitioned."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import asyncpg

from swarm_persistence.engines.sql.postgres.failures import conflict
from swarm_persistence.engines.sql.postgres.statements import Values
from swarm_persistence.engines.sql.postgres.violations import constraint_of, index_of, overtaken, refused
from swarm_persistence.engines.sql.statements import Exchange, InsertStatement, Statement, TextStatement
from swarm_persistence.errors import ConflictError
from swarm_persistence.schema.tables import Table

LARGEST_INSERT = 2000
"""Rows in one INSERT: enough that a round trip does not count, and few enough that the server need not hold much."""


class ArrayInsertStatement(InsertStatement, eq=False, gc=False):
    """Inserts rows, which are sent as one array for each column."""

    text: str

    @property
    def is_single(self) -> bool:
        return len(self.rows) <= LARGEST_INSERT

    def run(self) -> Exchange[list[Any]]:
        sequences: list[Any] = []
        for start in range(0, len(self.rows), LARGEST_INSERT):
            rows = self.rows[start : start + LARGEST_INSERT]
            try:
                added = yield TextStatement(self.text, [*zip(*rows, strict=True)], self.table)
            except asyncpg.UniqueViolationError as error:
                raise refused(self.table, error, rows) from error
            # RETURNING has no order.
            sequence_of = dict(added)
            sequences += [sequence_of[row[0]] for row in rows]
        return self.step_results(sequences)


class ArrayPutStatement(Statement, eq=False, gc=False):
    """Inserts rows of one table, or replaces those of their ids; gives what is stored of each row that was written."""

    table: Table[Any]
    rows: Sequence[Values]
    text: str
    with_moments: Callable[[Sequence[Any]], Sequence[Any]]

    @property
    def is_single(self) -> bool:
        return len(self.rows) <= LARGEST_INSERT

    def run(self) -> Exchange[list[tuple[int, int] | None]]:
        written: dict[Any, tuple[int, int]] = {}
        for start in range(0, len(self.rows), LARGEST_INSERT):
            rows = self.rows[start : start + LARGEST_INSERT]
            values = self.with_moments([*zip(*rows, strict=True)])
            try:
                stored = yield TextStatement(self.text, values, self.table)
            except asyncpg.UniqueViolationError as error:
                raise refused(self.table, error, rows) from error
            written.update((id, (version, created_at)) for id, version, created_at in stored)
        return [written.get(row[0]) for row in self.rows]

    def tables_changed(self) -> Iterable[str]:
        return (self.table.name,)


class _RowsStatement(Statement, eq=False, gc=False):
    """Writes rows, and translates the violations of their constraints."""

    text: str
    values: Values
    table: Table[Any]

    def tables_changed(self) -> Iterable[str]:
        return (self.table.name,)


class InsertUnlessStatement(_RowsStatement, eq=False, gc=False):
    """Inserts a row unless another one has its key; gives its sequence, or 0."""

    def run(self) -> Exchange[int]:
        try:
            rows = yield TextStatement(self.text, self.values, self.table)
        except asyncpg.UniqueViolationError as error:
            raise refused(self.table, error, [self.values]) from error
        return int(rows[0][0]) if rows else 0


class InsertUnlessHeldStatement(_RowsStatement, eq=False, gc=False):
    """Inserts a row into a table that may be partitioned, unless another one has its key; gives its sequence, or 0."""

    check_text: str
    key: str

    def run(self) -> Exchange[int]:
        table, values = self.table, self.values
        try:
            ((sequence, is_held),) = yield TextStatement(self.text, values, table)
        except asyncpg.UniqueViolationError as error:
            if constraint_of(table, error) == index_of(table, self.key):
                raise overtaken(table, error) from error
            raise refused(table, error, [values]) from error
        if sequence or is_held:
            return int(sequence)
        # It conflicted with the key, or the id, of a row that was committed meanwhile.
        identity = values[0]
        check = TextStatement(self.check_text, (values[table.positions[self.key]], identity), table)
        ((is_held, is_known),) = yield check
        if is_known and not is_held:
            raise conflict(table.label, identity, None)
        return 0


class SavePartitionedStatement(_RowsStatement, eq=False, gc=False):
    """Replaces or inserts a row of a table that may be partitioned; gives 1."""

    def run(self) -> Exchange[int]:
        try:
            ((count,),) = yield TextStatement(self.text, self.values, self.table)
        except asyncpg.UniqueViolationError as error:
            if constraint_of(self.table, error) == f"{self.table.name}_id_key":
                raise overtaken(self.table, error) from error
            raise refused(self.table, error, [self.values]) from error
        return int(count)


class RestoreStatement(Statement, eq=False, gc=False):
    """Inserts rows with their hidden columns; gives how many."""

    text: str
    rows: Sequence[Values]
    table: Table[Any]
    make_room: Statement | None
    """Creates the partition of the highest sequence, where the table is partitioned by it."""

    @property
    def is_single(self) -> bool:
        return self.make_room is None

    def run(self) -> Exchange[int]:
        if not self.rows:
            return 0
        if self.make_room is not None:
            yield from self.make_room.run()
        try:
            yield TextStatement(self.text, [*zip(*self.rows, strict=True)], self.table)
        except asyncpg.UniqueViolationError as error:
            raise ConflictError(f"{self.table.label}s cannot be restored: {error.detail or error}") from error
        return len(self.rows)

    def tables_changed(self) -> Iterable[str]:
        return (self.table.name,)
