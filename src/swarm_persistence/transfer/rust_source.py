"""Reads a database of the Rust crate from a private copy, so that the source is never changed.

SQLite itself changes files that it reads: it creates an index of the log, and checkpoints the log at the end.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from tempfile import TemporaryDirectory
from typing import Any

import apsw

from swarm_persistence.engines.sql.sqlite.file import resolve
from swarm_persistence.engines.sql.sqlite.rust_crate import UNUSED_TABLES, has_tables_of_the_crate
from swarm_persistence.errors import DatabaseError
from swarm_persistence.transfer.rust_records import Row

_COLUMNS = {
    "agents": ("id", "status", "data"),
    "tasks": ("id", "status", "assigned_to", "updated_at", "data"),
    "events": ("id", "data"),
    "messages": ("id", "read", "read_at", "data"),
    "metrics": ("id", "data"),
}
_NUMBERS = frozenset({"updated_at", "read", "read_at"})
TABLES = tuple(_COLUMNS)
_SUFFIXES = ("", "-wal", "-journal")
_ATTEMPTS = 5


class RustSource:
    """A snapshot of the rows in a database of the crate."""

    def __init__(self, connection: apsw.Connection, path: str) -> None:
        self._connection = connection
        self._path = path

    def count(self, table: str) -> int:
        """Count the rows of a table."""
        found: int = self._connection.execute(f"SELECT count(*) FROM {table}").get
        return found

    def rows(self, table: str) -> Iterator[tuple[int, Row]]:
        """Yield the rows of a table in the order of arrival, each with its number.

        Raises:
            DatabaseError: the file is damaged.

        """
        names = _COLUMNS[table]
        # A TEXT may hold bytes that are not UTF-8: all are read as they are, and decoded row by row.
        values = ", ".join(name if name in _NUMBERS else f"CAST({name} AS BLOB)" for name in names)
        try:
            for number, *row in self._connection.execute(f"SELECT rowid, {values} FROM {table} ORDER BY rowid"):
                yield int(number), dict(zip(names, row, strict=True))
        except (apsw.CorruptError, UnicodeDecodeError) as error:
            raise DatabaseError(
                f"{self._path!r} is damaged (SQLite: {error}): nothing was imported; take what can be read into a new "
                "file with sqlite3's .recover, and import that"
            ) from error

    def unused_rows(self) -> dict[str, int]:
        """Return the number of rows in tables that no code of the crate writes, if they hold any."""
        names: Any = self._connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
        counts = {name: self.count(name) for (name,) in names if name in UNUSED_TABLES}
        return {name: count for name, count in counts.items() if count}


@contextmanager
def open_source(path: str | os.PathLike[str]) -> Iterator[RustSource]:
    """Copy a database of the crate, its log included, to a temporary directory, and read that.

    Raises:
        DatabaseError: there is no such file, it is not of the crate, or a program keeps writing to it.

    """
    source = resolve(path)
    if not os.path.isfile(source):
        raise DatabaseError(f"there is no file {source!r}")
    with TemporaryDirectory(prefix="swarm-persistence-") as directory:
        copy = os.path.join(directory, "source.db")
        _copy(source, copy)
        with closing(apsw.Connection(copy)) as connection:
            try:
                is_of_the_crate = has_tables_of_the_crate(connection)
            except (apsw.NotADBError, apsw.CorruptError) as error:
                raise DatabaseError(f"{source!r} is not an SQLite database, or is damaged (SQLite: {error})") from error
            if not is_of_the_crate:
                raise DatabaseError(
                    f"{source!r} is not a database of the Rust crate ruv-swarm-persistence: its tables agents, tasks, "
                    "events, messages and metrics have a column data"
                )
            connection.execute("BEGIN").fetchall()
            yield RustSource(connection, source)


def _copy(source: str, copy: str) -> None:
    """Copy the file and its logs at a moment at which no program writes to them."""
    for _ in range(_ATTEMPTS):
        before = _states(source)
        try:
            for suffix in before:
                shutil.copyfile(f"{source}{suffix}", f"{copy}{suffix}")
        except FileNotFoundError:
            pass  # the last process has closed the file and deleted the log: copy again
        except OSError as error:
            raise DatabaseError(f"{source!r} cannot be read: {error.strerror}") from error
        if _states(source) == before:
            return
        for suffix in _SUFFIXES:
            if os.path.exists(f"{copy}{suffix}"):
                os.unlink(f"{copy}{suffix}")
    raise DatabaseError(f"a program writes to {source!r}; end it, and import again")


def _states(source: str) -> dict[str, tuple[int, int, int]]:
    states = {}
    for suffix in _SUFFIXES:
        try:
            found = os.stat(f"{source}{suffix}")
        except FileNotFoundError:
            continue
        states[suffix] = (found.st_ino, found.st_size, found.st_mtime_ns)
    return states
