"""Reads a database that no process writes to, such as a backup, and checks that it is sound and complete."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import apsw

from swarm_persistence.engines.sql.sqlite.checksums import vfs_for
from swarm_persistence.engines.sql.sqlite.migrations import LATEST
from swarm_persistence.engines.sql.sqlite.raw_file import MAGIC, RawFile
from swarm_persistence.engines.sql.sqlite.schema_version import APPLICATION_ID, require_openable, status
from swarm_persistence.errors import DatabaseError, UnreadableError
from swarm_persistence.query.text import listed
from swarm_persistence.schema.codec import codec_of
from swarm_persistence.schema.tables import TABLES

_STEPS_BETWEEN_LOOKS = 100_000
_FLAGS = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI


def is_database(path: str) -> bool:
    """Tell whether a file begins as an SQLite database does."""
    with RawFile(Path(path)) as file:
        return file.read(0, len(MAGIC)) == MAGIC


@contextmanager
def opened_offline(path: str, vfs: str | None) -> Iterator[apsw.Connection]:
    """Open a database read-only, in one snapshot; creates no log beside it."""
    has_log = any(Path(f"{path}{suffix}").exists() for suffix in ("-wal", "-journal"))
    uri = f"{Path(path).absolute().as_uri()}?{'mode=ro' if has_log else 'immutable=1'}"
    with closing(apsw.Connection(uri, flags=_FLAGS, vfs=vfs or vfs_for(path))) as connection:
        connection.execute("BEGIN").fetchall()
        yield connection


def require_ours(connection: apsw.Connection, name: str) -> None:
    """Raise `DatabaseError` for another program's database, and `MigrationError` for one too new for this code."""
    if connection.execute("PRAGMA application_id").get != APPLICATION_ID:
        raise DatabaseError(f"{name!r} is not a database of this package")
    require_openable(connection)


def check_pages(copy: apsw.Connection, name: str, stop: threading.Event, *, is_thorough: bool) -> None:
    """Raise `DatabaseError` unless a file is a sound database of this package; `name` is the name for messages."""
    copy.set_progress_handler(stop.is_set, _STEPS_BETWEEN_LOOKS)
    try:
        require_ours(copy, name)
        check = "integrity_check" if is_thorough else "quick_check"
        found: list[Any] = copy.execute(f"PRAGMA {check}(3)").fetchall()
    except (apsw.CorruptError, apsw.NotADBError) as error:
        raise _damaged(name, str(error)) from error
    if found != [("ok",)]:
        raise _damaged(name, "; ".join(str(row[0]) for row in found))


def row_counts(source: apsw.Connection) -> Mapping[str, int]:
    """Return how many rows each table has."""
    names = [name for (name,) in source.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
    return {str(name): source.execute(f'SELECT count(*) FROM "{name}"').get for name in names}


def check_rows(copy: apsw.Connection, name: str, counts: Mapping[str, int], stop: threading.Event) -> None:
    """Raise `DatabaseError` unless all rows exist and can be decoded."""
    copied = row_counts(copy)
    if copied != counts:
        raise _damaged(name, f"{dict(counts)} rows were to be copied, and {copied} are there")
    if status(copy).version != LATEST:
        return  # its rows are decoded after its schema is migrated
    for table in TABLES:
        decode = codec_of(table.model).decode
        text = f"SELECT {listed(table.record_names)} FROM {table.name}"
        try:
            for row in copy.execute(text):
                decode(row)
                if stop.is_set():
                    raise apsw.InterruptError("stopped")
        except (UnreadableError, UnicodeDecodeError) as error:
            raise DatabaseError(
                f"{name!r} holds a {table.label} that cannot be read back, so no copy was kept: {error}; "
                "a backup that is not verified would keep the row as it is"
            ) from error


def _damaged(name: str, reason: str) -> DatabaseError:
    return DatabaseError(f"{name!r} is damaged, so no copy of it was kept: {reason}")
