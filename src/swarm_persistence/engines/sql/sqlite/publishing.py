"""Gives a finished database its name, or replaces the content of another file by it.

A file that SQLite can open is overwritten by one transaction of SQLite: it keeps its inode, its mode and its links, a
crash leaves the old or the new content, and a process that is just opening it finds one of the two. Any other file is
renamed over, its log out of the way first: a log of another database beside a sound file would damage it.
"""

import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import apsw

from swarm_persistence.engines.partial_files import (
    COMPANIONS,
    PartialFile,
    exists_already,
    require_no_file,
    require_target,
    sync_directory_of,
)
from swarm_persistence.engines.sql.sqlite.access import writing
from swarm_persistence.engines.sql.sqlite.checksums import vfs_for
from swarm_persistence.engines.sql.sqlite.numbers import numbers_of, raise_numbers
from swarm_persistence.engines.sql.sqlite.offline import opened_offline
from swarm_persistence.engines.sql.sqlite.raw_file import held
from swarm_persistence.engines.sql.sqlite.schema_version import APPLICATION_ID
from swarm_persistence.errors import DatabaseError, OtherError

_BUSY_TIMEOUT_MILLISECONDS = 1000
_PAGES_A_STEP = 1024


def require_free(target: str, *, is_overwriting: bool, source: str | None = None) -> None:
    """Refuse a name that is taken, or that has another database's log beside it, before any work is done.

    Raises:
        OtherError: the name is taken and not to be overwritten, or is that of the source.
        DatabaseError: it is not the name of a file, or some process has the file open.

    """
    require_target(target, source)
    if is_overwriting:
        if os.path.lexists(target):
            with _locked(target):
                pass
        return
    require_no_file(target)
    logs = _logs_of(target)
    if logs:
        raise OtherError(
            f"{target!r} is missing, but its log {logs[0]!r} is there, and may hold what the file lacks; move it away, "
            "name another file, or ask to overwrite it"
        )


def publish(partial: PartialFile, *, is_overwriting: bool, keeps_numbers: bool, vfs: str | None) -> None:
    """Give a finished database its name.

    With `keeps_numbers`, numbering continues from that of the overwritten file: no event, message or change gets a
    number that a reader of that file has seen.

    Raises:
        OtherError: the name is taken, and not to be overwritten.
        DatabaseError: the file of that name is open elsewhere, or is another program's; it was left as it is.

    """
    target = partial.target
    partial.close()
    if not os.path.lexists(target):
        for log in _logs_of(target):
            os.unlink(log)
        sync_directory_of(target)
        partial.publish()
        return
    if not is_overwriting:
        raise exists_already(target)
    try:
        with _held_alone(target, vfs or vfs_for(partial.path) or vfs_for(target)) as connection:
            if keeps_numbers:
                _raise_numbers(partial.path, numbers_of(connection), vfs or vfs_for(partial.path))
            _overwrite(connection, partial.path, vfs)
    except (apsw.NotADBError, apsw.CorruptError):
        with _locked(target):
            _put_in_place_of(partial)


def _logs_of(target: str) -> list[str]:
    return [f"{target}{suffix}" for suffix in COMPANIONS if os.path.lexists(f"{target}{suffix}")]


@contextmanager
def _held_alone(target: str, vfs: str | None) -> Iterator[apsw.Connection]:
    """Open a database that no other connection of any process has open, and keep the others out meanwhile."""
    with closing(apsw.Connection(target, flags=apsw.SQLITE_OPEN_READWRITE, vfs=vfs)) as connection:
        connection.set_busy_timeout(_BUSY_TIMEOUT_MILLISECONDS)
        # Before anything is read: in this mode, the first read takes the file's lock for good.
        connection.execute("PRAGMA locking_mode = EXCLUSIVE").fetchall()
        try:
            connection.execute("PRAGMA synchronous = FULL").fetchall()
            connection.execute("BEGIN EXCLUSIVE").fetchall()
        except apsw.BusyError as error:
            raise _is_open(target) from error
        except apsw.ReadOnlyError as error:
            raise DatabaseError(f"{target!r} cannot be written; check its permissions") from error
        application_id: int = connection.execute("PRAGMA application_id").get
        if application_id != APPLICATION_ID and connection.execute("SELECT count(*) FROM sqlite_schema").get:
            raise DatabaseError(
                f"{target!r} is another program's database (application_id {application_id:#x}); it was left as it is"
            )
        connection.execute("ROLLBACK").fetchall()
        yield connection


def _overwrite(connection: apsw.Connection, path: str, vfs: str | None) -> None:
    """Replace the content of a database by that of a file, in one transaction."""
    with opened_offline(path, vfs) as source:
        if connection.execute("PRAGMA page_size").get != source.execute("PRAGMA page_size").get:
            connection.execute("PRAGMA journal_mode = DELETE").fetchall()  # a log holds pages of one size
        with connection.backup("main", source, "main") as copy:
            while not copy.done:
                copy.step(_PAGES_A_STEP)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    # No other connection uses log and index while this one locks the file, and this one needs neither.
    for suffix in ("-shm", "-journal"):
        with suppress(FileNotFoundError):
            os.unlink(f"{connection.filename}{suffix}")


def _put_in_place_of(partial: PartialFile) -> None:
    """Rename the file over one that SQLite cannot open."""
    target = partial.target
    aside = f"{target}.{secrets.token_hex(4)}.replaced"
    moved = []
    try:
        for log in _logs_of(target):
            os.rename(log, f"{aside}{log.removeprefix(target)}")
            moved.append(log)
        sync_directory_of(target)
        partial.replace()
    except OSError:
        for log in moved:
            os.rename(f"{aside}{log.removeprefix(target)}", log)
        raise
    for log in moved:
        os.unlink(f"{aside}{log.removeprefix(target)}")
    sync_directory_of(target)


@contextmanager
def _locked(target: str) -> Iterator[None]:
    """Lock all connections out of a file that SQLite may be unable to open, but that one may have had open before."""
    try:
        with held(Path(target)):
            yield
    except apsw.BusyError as error:
        raise _is_open(target) from error


def _is_open(target: str) -> DatabaseError:
    return DatabaseError(f"{target!r} is open in this process or in another one; close it there first")


def _raise_numbers(path: str, numbers: Mapping[str, int], vfs: str | None) -> None:
    with closing(apsw.Connection(path, flags=apsw.SQLITE_OPEN_READWRITE, vfs=vfs)) as connection:
        connection.execute("PRAGMA synchronous = FULL").fetchall()
        with writing(connection):
            raise_numbers(connection, numbers)
