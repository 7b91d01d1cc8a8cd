"""The statements that only SQLite needs, and bulk inserts."""

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any, ClassVar

import apsw

from swarm_persistence.clock import now_in_microseconds
from swarm_persistence.engines.sql.compiler import Compiler
from swarm_persistence.engines.sql.sqlite.numbers import raise_numbers
from swarm_persistence.engines.sql.statements import (
    CountStatement,
    Exchange,
    InsertStatement,
    RecordStatement,
    RowsStatement,
    Statement,
    TextStatement,
)
from swarm_persistence.engines.steps import Upkeep
from swarm_persistence.errors import ConflictError
from swarm_persistence.query.text import listed, quoted
from swarm_persistence.schema.tables import CHANGE_NUMBER, DOCUMENTS, SEQUENCE, Table

Row = Sequence[Any]

MOST_VALUES = 6144
"""Values in one INSERT: those of 1,024 events, a whole group; a longer text would not be kept prepared."""

MOST_ROWS = 1024
"""Rows in one INSERT, and so operations in one commit."""

MOST_PUT = 64
"""Rows in one INSERT with RETURNING: SQLite buffers them until all are written, which costs more for many. A write of
more rows is left to the writer's thread."""

_TEXTS_KEPT = 64


class BulkInsert:
    """Adds rows of one table, many in one statement."""

    def __init__(self, table: Table[Any], write_text: Callable[[int], str]) -> None:
        self.table = table
        self._text_of_one = write_text(1)
        self.text_of = lru_cache(_TEXTS_KEPT)(write_text)
        """Returns the text that adds so many rows, `largest_chunk` at most."""
        self.largest_chunk = min(MOST_ROWS, MOST_VALUES // len(table.names))

    def add(self, cursor: apsw.Cursor, rows: Sequence[Row]) -> list[int | BaseException]:
        """Add rows in as few statements as possible; return the sequence of each, or its error.

        A failure that ends the transaction is raised: nothing more may run outside of it.
        """
        results: list[int | BaseException] = []
        position = 0
        while position < len(rows):
            size = self._chunk_size(len(rows) - position)
            chunk = rows[position : position + size]
            position += size
            if size == 1:
                results.append(self._add_alone(cursor, chunk[0]))
                continue
            try:
                # It holds the interpreter lock once, not once a row, so that it runs beside a busy event loop.
                cursor.execute(self.text_of(size), [*chain.from_iterable(chunk)])
                last = cursor.connection.last_insert_rowid()
                # SQLite numbers the rows of one statement one after the other.
                results += range(last - size + 1, last + 1)
            except (apsw.ConstraintError, apsw.TooBigError):
                # One row is to blame, and SQLite has undone the statement: add the rows one by one.
                results += [self._add_alone(cursor, row) for row in chunk]
            except apsw.Error as error:
                if not cursor.connection.in_transaction:
                    raise
                results += [error] * size
        return results

    def add_one(self, cursor: apsw.Cursor, row: Row) -> int:
        """Add one row, and return its sequence."""
        try:
            cursor.execute(self._text_of_one, row)
        except apsw.ConstraintError as error:
            if getattr(error, "extendedresult", None) != apsw.SQLITE_CONSTRAINT_UNIQUE:
                raise
            raise self._conflict(cursor, row) from error
        return cursor.connection.last_insert_rowid()

    def stored_sequence(self, cursor: apsw.Cursor, row: Row) -> int | None:
        """Return the sequence of a row that is stored exactly as given; `None` otherwise."""
        columns = listed((*self.table.names, SEQUENCE))
        found: Any = cursor.execute(f"SELECT {columns} FROM {self.table.name} WHERE id = ?", (row[0],)).fetchall()
        return found[0][-1] if found and found[0][:-1] == (*row,) else None

    def _chunk_size(self, rows: int) -> int:
        """Return how many rows go into the next statement: one of few sizes, so that prepared statements are reused."""
        return min(self.largest_chunk, rows if rows < 16 else rows & ~15)

    def _add_alone(self, cursor: apsw.Cursor, row: Row) -> int | BaseException:
        try:
            return self.add_one(cursor, row)
        except (apsw.Error, ConflictError) as error:
            if not cursor.connection.in_transaction:
                raise
            return error

    def _conflict(self, cursor: apsw.Cursor, row: Row) -> ConflictError:
        label, identity = self.table.label, row[0]
        if cursor.execute(f"SELECT 1 FROM {self.table.name} WHERE id = ?", (identity,)).fetchall():
            return ConflictError(f"{label} {identity!r} exists already; the stored one is unchanged")
        return ConflictError(f"{label} {identity!r} cannot be stored: another one has the same idempotency_key")


class CursorStatement(Statement, eq=False, gc=False):
    """A statement that needs the cursor: it yields itself, and the driver calls `run_on`."""

    def run(self) -> Exchange[Any]:
        return (yield self)

    def run_on(self, cursor: apsw.Cursor) -> Any:
        """Run it, and return its result."""
        raise NotImplementedError


class ShortCommand(CursorStatement, eq=False, gc=False):
    """A command without values, such as SAVEPOINT; gives nothing."""

    text: str

    is_short: ClassVar[bool] = True

    def run_on(self, cursor: apsw.Cursor) -> None:
        cursor.execute(self.text)


class BulkInsertStatement(InsertStatement, CursorStatement, eq=False, gc=False):
    """Adds rows of one table."""

    bulk: BulkInsert

    @property
    def is_single(self) -> bool:
        return len(self.rows) == 1

    is_short = is_single

    def run_on(self, cursor: apsw.Cursor) -> list[int]:
        if len(self.rows) == 1:
            return [self.bulk.add_one(cursor, self.rows[0])]
        sequences: list[int] = []
        for outcome in self.bulk.add(cursor, self.rows):
            if isinstance(outcome, BaseException):
                raise outcome
            sequences.append(outcome)
        return sequences


class ProbeThenInsertStatement(Statement, eq=False, gc=False):
    """Adds a row unless another one has its value in some field; gives its sequence, or 0.

    It uses two statements, since ON CONFLICT would use up a sequence even if it adds nothing.
    """

    exists: Statement
    insert: InsertStatement

    @property
    def values(self) -> Iterable[Any]:
        return self.insert.values

    def run(self) -> Exchange[int]:
        is_known = yield from self.exists.run()
        return 0 if is_known else (yield from self.insert.run())[0]

    def tables_changed(self) -> Sequence[str]:
        return (self.insert.table.name,)


class TooLargeError(Exception):
    """A record is too large to be read in an event loop's own thread."""


class UnexpiredRecordStatement(RecordStatement, eq=False, gc=False):
    """Gives the record of an id unless it has expired.

    Few records expire, and checking the row that was read is cheaper than binding the time for each read.
    """

    def result(self, rows: list[Any]) -> Any:
        field = self.table.expiry
        if rows and field is not None:
            expires_at = rows[0][self.table.positions[field]]
            if expires_at is not None and expires_at <= now_in_microseconds():
                return None
        return RecordStatement.result(self, rows)


class SmallRecordStatement(UnexpiredRecordStatement, eq=False, gc=False):
    """Gives the record of an id if it is small; the text reads null for the value of a large one."""

    def result(self, rows: list[Any]) -> Any:
        if rows and rows[0][self.table.positions["value"]] is None:
            raise TooLargeError
        return UnexpiredRecordStatement.result(self, rows)


class LargeRecordStatement(UnexpiredRecordStatement, eq=False, gc=False):
    """Gives the record of an id, which may hold megabytes: only a small one is read in an event loop's own thread."""

    small_text: str

    is_short: ClassVar[bool] = False

    @property
    def in_loop(self) -> SmallRecordStatement:
        return SmallRecordStatement(self.small_text, self.values, self.table)


_ONE_NEW = ((1, None),)


class PutStatement(RowsStatement, CursorStatement, eq=False, gc=False):
    """Inserts or replaces rows of one table; gives version and creation time of each row that was written."""

    puts: "Puts"
    if_absent: bool

    @property
    def is_single(self) -> bool:
        return len(self.rows) <= MOST_PUT

    @property
    def is_short(self) -> bool:
        return len(self.rows) == 1

    @property
    def result_of_new(self) -> Sequence[tuple[int, None]]:
        """Return the result if none of the rows was stored: mostly one object for all, as many are in flight."""
        return _ONE_NEW if len(self.rows) == 1 else _ONE_NEW * len(self.rows)

    def run_on(self, cursor: apsw.Cursor) -> list[tuple[int, int] | None]:
        written: dict[str, tuple[int, int]] = {}
        for start in range(0, len(self.rows), MOST_PUT):
            text, values = self.puts.compiled(self.rows[start : start + MOST_PUT], self.if_absent)
            # RETURNING has no order.
            for id, version, created_at in cursor.execute(text, values):
                written[id] = (version, created_at)
        return [written.get(row[0]) for row in self.rows]


class Puts:
    """Compiles puts of rows of one table."""

    def __init__(self, table: Table[Any], sql: Compiler) -> None:
        self.new = BulkInsert(table, lambda rows: sql.put_new(table, rows))
        """Adds rows of which none is stored."""
        self._table = table
        self._sql = sql
        self._text_of = lru_cache(2 * MOST_PUT)(lambda rows, if_absent: sql.put(table, rows, if_absent=if_absent))

    def compiled(self, rows: Sequence[Row], if_absent: bool) -> tuple[str, Sequence[Any]]:
        """Return the text that puts rows, some of which may be stored, and its values."""
        values = self._sql.put_values(self._table, [*chain.from_iterable(rows)], if_absent=if_absent)
        return self._text_of(len(rows), if_absent), values


class UpkeepStatement(CountStatement, eq=False, gc=False):
    """Changes rows once for all operations of one commit."""

    step: Upkeep[Any]


class UnlinkStatement(CountStatement, eq=False, gc=False):
    """Deletes links; the schema's trigger `task_links_deleted` counts those that are left, once they are few.

    A row is written as a whole, with its list of dependencies: to decrement a counter for each of 100,000 links would
    write that list 100,000 times.
    """

    counted: Table[Any]

    def tables_changed(self) -> Sequence[str]:
        return (self.table.name, self.counted.name)


class NoStatement(Statement, eq=False, gc=False):
    """Runs nothing: SQLite has one writer at a time, which needs no row locks."""

    def run(self) -> Exchange[None]:
        return
        yield self


class RestoreEachStatement(RowsStatement, eq=False, gc=False):
    """Adds rows with their hidden columns; gives how many."""

    text: str

    is_single: ClassVar[bool] = False

    def run(self) -> Exchange[int]:
        for row in self.rows:
            try:
                yield TextStatement(self.text, row, self.table)
            except apsw.ConstraintError as error:
                raise ConflictError(f"{self.table.label} {row[0]!r} cannot be restored (SQLite: {error})") from error
        return len(self.rows)


class RaiseNumbersStatement(CursorStatement, eq=False, gc=False):
    """Advances a table's sequence to a number, if it is below, and sets its floor; gives nothing."""

    table: Table[Any]
    number: int
    floor: int

    is_single: ClassVar[bool] = False

    def run_on(self, cursor: apsw.Cursor) -> None:
        raise_numbers(cursor.connection, {self.table.name: self.number})
        if self.table.floor is not None:
            cursor.execute(f"UPDATE {self.table.floor} SET number = ?", (self.floor,))


MANY = 500
"""The fewest rows for which this pays off: the connection must prepare its statements anew."""

_RAISE_FLOOR = f"""\
UPDATE change_floor
SET number = max(number, (SELECT coalesce(max({quoted(CHANGE_NUMBER)}), 0) FROM {DOCUMENTS.name}))"""
_NEEDS_TRIGGERS = f"""\
SELECT 1 FROM document_indexes
UNION ALL
SELECT 1 FROM sqlite_schema
WHERE type = 'trigger' AND tbl_name = '{DOCUMENTS.name}' AND name NOT IN ('documents_deleted', 'document_words_deleted')
LIMIT 1"""  # a caller's own trigger acts on every row


class DeleteManyDocumentsStatement(CursorStatement, eq=False, gc=False):
    """Deletes the many documents of a range; gives their number.

    With triggers, SQLite visits each row twice and keeps a copy of each page in case one fails. So the work of the
    trigger `documents_deleted` is done once for all rows; `document_words_deleted` has nothing to do here.
    """

    text: str
    values: Sequence[Any]

    is_single: ClassVar[bool] = False

    def run_on(self, cursor: apsw.Cursor) -> int:
        connection = cursor.connection
        if cursor.execute(_NEEDS_TRIGGERS).fetchall():
            cursor.execute(self.text, self.values)
            return connection.changes()
        cursor.execute(_RAISE_FLOOR)
        connection.config(apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER, 0)
        try:
            cursor.execute(self.text, self.values)
            return connection.changes()
        finally:
            connection.config(apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER, 1)

    def tables_changed(self) -> Sequence[str]:
        return (DOCUMENTS.name,)


class DeleteDocumentsStatement(DeleteManyDocumentsStatement, eq=False, gc=False):
    """Deletes the documents of a range, without triggers if they are many; gives their number."""

    exists_text: str

    def run_on(self, cursor: apsw.Cursor) -> int:
        if cursor.execute(f"{self.exists_text} OFFSET {MANY - 1}", self.values).fetchall():
            return DeleteManyDocumentsStatement.run_on(self, cursor)
        cursor.execute(self.text, self.values)
        return cursor.connection.changes()
