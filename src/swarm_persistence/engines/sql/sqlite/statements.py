"""The kinds of statements: how each runs on a connection, and what it gives."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any, Protocol

import apsw

from swarm_persistence.engines.sql.sqlite.unreadable import unreadable_in, unreadable_somewhere
from swarm_persistence.errors import ConflictError
from swarm_persistence.schema.tables import Table
from swarm_persistence.schema.values import ColumnValue

Parameters = Sequence[ColumnValue]

MOST_VALUES = 6144
"""Values in one INSERT: those of 1,024 events, a whole group; a longer text would not be kept prepared."""

MOST_ROWS = 1024
"""Rows in one INSERT, and so operations in one commit."""

_TEXTS_KEPT = 64


class Statement(Protocol):
    """Something that runs with parameters."""

    table_name: str
    """The table that it changes, or reads."""

    can_fail_after_change: bool
    """Whether it can raise once SQLite has done its part: then only a savepoint undoes that."""

    is_short: bool
    """Whether it has to do with one row, and finds it at once."""

    def run(self, cursor: apsw.Cursor, parameters: Parameters) -> Any:
        """Run it and return its result."""
        ...


class InsertStatement:
    """Adds rows of one table; gives the sequence of each."""

    can_fail_after_change = False
    is_short = True

    def __init__(self, table: Table[Any], write_text: Callable[[int], str]) -> None:
        self.table = table
        self.table_name = table.name
        self._text_of_one = write_text(1)
        self._text_of = lru_cache(_TEXTS_KEPT)(write_text)
        self.largest_chunk = min(MOST_ROWS, MOST_VALUES // len(table.names))

    def run(self, cursor: apsw.Cursor, parameters: Parameters) -> int:
        """Add one row."""
        try:
            cursor.execute(self._text_of_one, parameters)
        except apsw.ConstraintError as error:
            if getattr(error, "extendedresult", None) != apsw.SQLITE_CONSTRAINT_UNIQUE:
                raise
            raise self._conflict(cursor, parameters) from error
        return cursor.connection.last_insert_rowid()

    def _conflict(self, cursor: apsw.Cursor, parameters: Parameters) -> ConflictError:
        label, identity = self.table.label, parameters[0]
        if cursor.execute(f"SELECT 1 FROM {self.table_name} WHERE id = ?", (identity,)).fetchall():
            return ConflictError(f"{label} {identity!r} exists already; the stored one is unchanged")
        return ConflictError(f"{label} {identity!r} cannot be stored: another one has the same idempotency_key")

    def run_chunk(self, cursor: apsw.Cursor, rows: Sequence[Parameters]) -> range:
        """Add rows, `largest_chunk` at most, in one statement: all, or none and an `apsw.ConstraintError`.

        One statement holds the interpreter lock once, not once a row, so that it runs beside a busy event loop.
        """
        cursor.execute(self._text_of(len(rows)), list(chain.from_iterable(rows)))
        # SQLite numbers the rows of one statement one after the other.
        last = cursor.connection.last_insert_rowid()
        return range(last - len(rows) + 1, last + 1)


class InsertUnlessStatement:
    """Adds a row unless another one holds its value in some field; gives its sequence, or 0.

    That is two statements, for ON CONFLICT would use up a sequence even where it adds nothing.
    """

    can_fail_after_change = False
    is_short = False

    def __init__(self, insert: InsertStatement, exists_text: str, position: int) -> None:
        self.table_name = insert.table_name
        self._insert = insert
        self._exists_text = exists_text
        self._position = position

    def run(self, cursor: apsw.Cursor, parameters: Parameters) -> int:
        """Add the row if it may be."""
        if cursor.execute(self._exists_text, (parameters[self._position],)).fetchall():
            return 0
        return self._insert.run(cursor, parameters)


class CountStatement:
    """Changes rows; gives how many."""

    can_fail_after_change = False

    def __init__(self, text: str, table_name: str = "", *, is_short: bool = False) -> None:
        self.text = text
        self.table_name = table_name
        self.is_short = is_short

    def run(self, cursor: apsw.Cursor, parameters: Parameters) -> int:
        """Run it and count the changed rows."""
        cursor.execute(self.text, parameters)
        return cursor.connection.changes()


class UpkeepStatement(CountStatement):
    """Changes rows for all operations that are committed together."""


class ValueStatement:
    """Gives the first value of the first row, or `None` if there is no row."""

    can_fail_after_change = False

    def __init__(self, text: str, table_name: str, *, is_short: bool = False) -> None:
        self.text = text
        self.table_name = table_name
        self.is_short = is_short

    def run(self, cursor: apsw.Cursor, parameters: Parameters) -> Any:
        """Run it to its end and return the value."""
        try:
            rows = cursor.execute(self.text, parameters).fetchall()
        except UnicodeDecodeError as error:
            raise unreadable_somewhere(cursor, self.table_name, error) from error
        return rows[0][0] if rows else None


class RecordStatement:
    """Gives one row as `read` makes it, or `None` if there is no row."""

    can_fail_after_change = False
    is_short = True

    def __init__(self, text: str, table_name: str, read: Callable[[Any], Any]) -> None:
        self.text = text
        self.table_name = table_name
        self._read = read

    def run(self, cursor: apsw.Cursor, parameters: Parameters) -> Any:
        """Run it and return the record."""
        try:
            rows = cursor.execute(self.text, parameters).fetchall()
        except UnicodeDecodeError as error:
            raise unreadable_in(cursor, self.table_name, self.text, parameters, error) from error
        return self._read(rows[0]) if rows else None


class RowsStatement:
    """Gives rows, as `read` makes them."""

    can_fail_after_change = False
    is_short = False

    def __init__(self, text: str, table_name: str, read: Callable[[Any], Any] | None) -> None:
        self.text = text
        self.table_name = table_name
        self._read = read

    def run(self, cursor: apsw.Cursor, parameters: Parameters) -> list[Any]:
        """Run it and return the rows."""
        read = self._read
        try:
            rows = cursor.execute(self.text, parameters).fetchall()
        except UnicodeDecodeError as error:
            if read is None:
                raise unreadable_somewhere(cursor, self.table_name, error) from error
            raise unreadable_in(cursor, self.table_name, self.text, parameters, error) from error
        return rows if read is None else [read(row) for row in rows]


class PageStatement:
    """Gives rows, as `read` makes them, and the sequence of the last."""

    can_fail_after_change = False
    is_short = False

    def __init__(self, text: str, table_name: str, read: Callable[[Any], Any]) -> None:
        self.text = text
        self.table_name = table_name
        self._read = read

    def run(self, cursor: apsw.Cursor, parameters: Parameters) -> tuple[list[Any], int]:
        """Run it and return rows and sequence."""
        try:
            rows: Any = cursor.execute(self.text, parameters).fetchall()
        except UnicodeDecodeError as error:
            raise unreadable_in(cursor, self.table_name, self.text, parameters, error) from error
        return [*map(self._read, rows)], rows[-1][-1] if rows else 0


def insert_rows(
    cursor: apsw.Cursor, statement: InsertStatement, rows: Sequence[Parameters]
) -> list[int | BaseException]:
    """Add rows in as few statements as can be; gives the sequence of each, or the error of one that failed.

    A failure that ends the transaction is raised: nothing more may run outside of it.
    """
    results: list[int | BaseException] = []
    position = 0
    while position < len(rows):
        size = _chunk_size(statement, len(rows) - position)
        chunk = rows[position : position + size]
        position += size
        if size == 1:
            results.append(_insert_alone(cursor, statement, chunk[0]))
            continue
        try:
            results += statement.run_chunk(cursor, chunk)
        except (apsw.ConstraintError, apsw.TooBigError):
            # One row's fault. SQLite has undone the statement; row by row, each fails or succeeds alone.
            results += [_insert_alone(cursor, statement, row) for row in chunk]
        except apsw.Error as error:
            if not cursor.connection.in_transaction:
                raise
            results += [error] * size
    return results


def _chunk_size(statement: InsertStatement, rows: int) -> int:
    """Return how many rows go into the next statement: of few sizes, so that prepared statements are found again."""
    return min(statement.largest_chunk, rows if rows < 16 else rows & ~15)


def _insert_alone(cursor: apsw.Cursor, statement: InsertStatement, row: Parameters) -> int | BaseException:
    try:
        return statement.run(cursor, row)
    except (apsw.Error, ConflictError) as error:
        if not cursor.connection.in_transaction:
            raise
        return error
