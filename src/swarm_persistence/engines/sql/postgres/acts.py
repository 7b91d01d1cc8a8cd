"""What runs on a connection: statements with their values and what is made of their rows, and steps of several."""

import re
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import asyncpg

from swarm_persistence.engines.sql.postgres.connection import Connection
from swarm_persistence.engines.sql.postgres.failures import OvertakenError, conflict, stale_sequence
from swarm_persistence.engines.sql.postgres.statements import Values
from swarm_persistence.errors import ConflictError, DatabaseError
from swarm_persistence.query.query import Query
from swarm_persistence.query.semantics import sorted_rows
from swarm_persistence.schema.codec import codec_of
from swarm_persistence.schema.tables import Table

LARGEST_INSERT = 2000
"""Rows in one INSERT: enough that a round trip does not count, and few enough that the server need not hold much."""


class Act(Protocol):
    """Something to do on a connection."""

    @property
    def is_single(self) -> bool:
        """Tell whether it is one statement at most, and so needs no transaction around it to be atomic."""
        ...

    async def run(self, connection: Connection) -> Any:
        """Do it and return its result."""
        ...


class _StatementAct:
    """One statement that may change rows of a table."""

    is_single = True

    def __init__(self, table: Table[Any], text: str, values: Values) -> None:
        self.table = table
        self._text = text
        self._values = values


class CountAct(_StatementAct):
    """Changes rows; gives how many."""

    async def run(self, connection: Connection) -> int:
        """Run it and count the changed rows."""
        return await connection.count(self._text, self._values)


class RowsAct:
    """Reads rows; gives what `finish` makes of them."""

    is_single = True

    def __init__(self, text: str, values: Values, finish: Callable[[list[Any]], Any]) -> None:
        self._text = text
        self._values = values
        self._finish = finish

    async def run(self, connection: Connection) -> Any:
        """Run it and return what was made of its rows."""
        return self._finish(await connection.run(self._text, self._values))


class InsertAct:
    """Adds rows of one table; gives the sequence of each. Its rows may grow until it runs."""

    def __init__(self, table: Table[Any], text: str) -> None:
        self.table = table
        self._text = text
        self.rows: list[Values] = []

    @property
    def is_single(self) -> bool:
        """Tell whether one statement will do."""
        return len(self.rows) <= LARGEST_INSERT

    async def run(self, connection: Connection) -> list[Any]:
        """Add the rows."""
        sequences: list[int] = []
        for start in range(0, len(self.rows), LARGEST_INSERT):
            sequences += await self._add(connection, self.rows[start : start + LARGEST_INSERT])
        return self.results(sequences)

    def results(self, sequences: list[int]) -> list[Any]:
        """Return the results of its steps, which have given its rows these sequences."""
        return sequences

    async def _add(self, connection: Connection, rows: list[Values]) -> list[int]:
        try:
            added = await connection.run(self._text, [*zip(*rows, strict=True)])
        except asyncpg.UniqueViolationError as error:
            raise refused(self.table, error, rows) from error
        # RETURNING has no order.
        sequence_of = dict(added)
        return [sequence_of[row[0]] for row in rows]


class InsertUnlessAct(_StatementAct):
    """Adds a row if no other one holds its key; gives its sequence, or 0."""

    async def run(self, connection: Connection) -> int:
        """Add the row."""
        try:
            rows = await connection.run(self._text, self._values)
        except asyncpg.UniqueViolationError as error:
            raise refused(self.table, error, [self._values]) from error
        return int(rows[0][0]) if rows else 0


class InsertUnlessHeldAct:
    """Adds a row if no other one holds its key, to a table that may be partitioned; gives its sequence, or 0."""

    is_single = True

    def __init__(self, table: Table[Any], text: str, look: str, values: Values, key: str) -> None:
        self.table = table
        self._text = text
        self._look = look
        self._values = values
        self._key = key

    async def run(self, connection: Connection) -> int:
        """Add the row."""
        try:
            ((sequence, is_held),) = await connection.run(self._text, self._values)
        except asyncpg.UniqueViolationError as error:
            if constraint_of(self.table, error) == index_of(self.table, self._key):
                raise overtaken(self.table, error) from error
            raise refused(self.table, error, [self._values]) from error
        if sequence or is_held:
            return int(sequence)
        # It met the key, or the id, of a row that was committed meanwhile.
        identity = self._values[0]
        ((is_held, is_known),) = await connection.run(
            self._look, (self._values[self.table.positions[self._key]], identity)
        )
        if is_known and not is_held:
            raise conflict(self.table.label, identity, None)
        return 0


class SaveAct(_StatementAct):
    """Replaces a row, or adds it, in a table that may be partitioned; gives how many it wrote: one."""

    async def run(self, connection: Connection) -> int:
        """Replace or add the row."""
        try:
            return int((await connection.run(self._text, self._values))[0][0])
        except asyncpg.UniqueViolationError as error:
            if constraint_of(self.table, error) == f"{self.table.name}_id_key":
                raise overtaken(self.table, error) from error
            raise refused(self.table, error, [self._values]) from error


class RestoreAct:
    """Adds rows with their hidden columns; gives how many."""

    def __init__(self, table: Table[Any], text: str, rows: Sequence[Values], make_room: Act | None) -> None:
        """Take the rows, and what makes room for their sequences where a table is partitioned by them."""
        self.table = table
        self._text = text
        self._rows = rows
        self._make_room = make_room

    @property
    def is_single(self) -> bool:
        """Tell whether one statement will do."""
        return self._make_room is None

    async def run(self, connection: Connection) -> int:
        """Add the rows."""
        if not self._rows:
            return 0
        if self._make_room is not None:
            await self._make_room.run(connection)
        try:
            return await connection.count(self._text, [*zip(*self._rows, strict=True)])
        except asyncpg.UniqueViolationError as error:
            raise ConflictError(f"{self.table.label}s cannot be restored: {error.detail or error}") from error


class RewriteAct:
    """Replaces a row, or adds it; gives what `finish` makes of the answer."""

    is_single = True

    def __init__(self, table: Table[Any], act: Act) -> None:
        self.table = table
        self._act = act

    async def run(self, connection: Connection) -> Any:
        """Replace the row."""
        try:
            return await self._act.run(connection)
        except asyncpg.UniqueViolationError as error:
            raise refused(self.table, error, []) from error


class ClaimAct:
    """Changes the first rows of a query; gives them in its order."""

    is_single = True

    def __init__(self, text: str, values: Values, query: Query[Any]) -> None:
        self.table = query.table
        self._text = text
        self._values = values
        self._query = query

    async def run(self, connection: Connection) -> list[Any]:
        """Claim the rows."""
        return self.records(self._query, await connection.run(self._text, self._values))

    @staticmethod
    def records(query: Query[Any], rows: list[Any]) -> list[Any]:
        """Return the records of claimed rows in the query's order: RETURNING has none."""
        if len(rows) > 1:
            rows = sorted_rows(query, rows)
        return [*map(codec_of(query.table.model).decode, rows)]


class HoldAct:
    """Holds rows by their ids, whether they are stored or not; gives nothing."""

    is_single = False  # its purpose is the transaction that it is in

    def __init__(self, text: str, values: Values) -> None:
        self._text = text
        self._values = values

    async def run(self, connection: Connection) -> None:
        """Hold the rows."""
        await connection.run(self._text, self._values)


class WhenAct:
    """Does one thing, and the others if it added or changed anything; gives its result."""

    is_single = False

    def __init__(self, first: Act, others: Sequence[Act]) -> None:
        self._first = first
        self._others = others
        self.parts = (first, *others)

    async def run(self, connection: Connection) -> Any:
        """Do what is to be done."""
        result = await self._first.run(connection)
        if result:
            for act in self._others:
                await act.run(connection)
        return result


class UnlessAct:
    """Does some things if a look finds nothing; gives their results, or `None`."""

    is_single = False

    def __init__(self, look: Act, others: "Steps") -> None:
        self._look = look
        self._others = others
        self.parts = others.acts

    async def run(self, connection: Connection) -> Any:
        """Look, and do what is to be done."""
        return None if await self._look.run(connection) else await self._others.run(connection)


class Steps:
    """The acts of one write: neighbouring inserts of one table are one act. Gives one result a step."""

    def __init__(self) -> None:
        self.acts: list[Any] = []
        self._is_open = False

    def add(self, act: Act) -> None:
        """Add an act for a step."""
        self.acts.append(act)
        self._is_open = False

    def add_row(self, table: Table[Any], text: str, row: Values) -> None:
        """Add a step that adds a row."""
        if not self._is_open or self.acts[-1].table is not table:
            self.acts.append(InsertAct(table, text))
            self._is_open = True
        self.acts[-1].rows.append(row)

    @property
    def is_single(self) -> bool:
        """Tell whether one statement will do."""
        return len(self.acts) == 1 and self.acts[0].is_single

    @property
    def inserts(self) -> list[InsertAct] | None:
        """Return the acts if they add rows and do nothing else."""
        return self.acts if all(isinstance(act, InsertAct) for act in self.acts) else None

    def tables(self) -> set[str]:
        """Return the names of the tables that may be changed."""
        return tables_of(self.acts)

    async def run(self, connection: Connection) -> list[Any]:
        """Do all of it, in order."""
        results: list[Any] = []
        for act in self.acts:
            result = await act.run(connection)
            if isinstance(act, InsertAct):
                results += result
            else:
                results.append(result)
        return results


def tables_of(acts: Sequence[Any]) -> set[str]:
    """Return the names of the tables that acts may change."""
    names: set[str] = set()
    for act in acts:
        if isinstance(act, WhenAct | UnlessAct):
            names |= tables_of(act.parts)
        elif (table := getattr(act, "table", None)) is not None:
            names.add(table.name)
    return names


_OF_PARTITION = re.compile(r"_p\d+(?=_)")


def constraint_of(table: Table[Any], error: asyncpg.UniqueViolationError) -> str:
    """Return the name of a violated constraint, for that of a partition the name that the table's own would have."""
    name = (error.constraint_name or "").removeprefix(table.name)
    return table.name + _OF_PARTITION.sub("", name, count=1)


def index_of(table: Table[Any], field: str) -> str:
    """Return the name of the index in which a field's values are unique."""
    return next(index.name for index in table.indexes if index.is_unique and index.columns == (field,))


def overtaken(table: Table[Any], error: asyncpg.UniqueViolationError) -> OvertakenError:
    """Return the error that says that another transaction has added the same record at the same time."""
    found = OvertakenError(f"another transaction has added the same {table.label} at the same time")
    found.__cause__ = error
    return found


def refused(table: Table[Any], error: asyncpg.UniqueViolationError, rows: Sequence[Values]) -> DatabaseError:
    """Return the error that says what of some rows is taken already: the number, the key, or the id."""
    constraint = constraint_of(table, error)
    if constraint == f"{table.name}_pkey":
        return stale_sequence(table.name, error)
    for index in table.indexes:
        if index.is_unique and index.name == constraint:
            taken = ConflictError(f"another {table.label} has this {index.columns[0]}; nothing was written")
            taken.__cause__ = error
            return taken
    # The server names the id in a sentence of its own language: look which of ours stands in it.
    ids = sorted((str(row[0]) for row in rows), key=len, reverse=True)
    detail = error.detail or ""
    identity = next((id for id in ids if f"({id})" in detail), ids[0])
    return conflict(table.label, identity, error)
