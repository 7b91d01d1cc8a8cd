"""Looks at a path before anything is written to it: is it ours, new, or something that must stay as it is?"""

import os
from pathlib import Path

import apsw

from swarm_persistence.engines.sql.sqlite.schema_version import APPLICATION_ID, require_known
from swarm_persistence.errors import DatabaseError

_MODE_OF_NEW_FILE = 0o600
_MAGIC = b"SQLite format 3\0"


def prepare(path: str) -> None:
    """Create the file if there is none, readable by its owner only; refuse one that is not ours, and leave it as it is.

    Raises:
        DatabaseError: the path is a directory, its parent is missing, or the file is another program's or cannot be
            read or written.
        MigrationError: the file is newer than this code.

    """
    file = Path(path)
    if file.is_dir():
        raise DatabaseError(f"{path!r} is a directory; give the path of a file")
    if not file.parent.is_dir():
        raise DatabaseError(f"{path!r} cannot be created: the directory {str(file.parent)!r} does not exist")
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE_OF_NEW_FILE))
    except FileExistsError:
        _inspect(file)
    except OSError as error:
        raise DatabaseError(f"{path!r} cannot be created: {error.strerror}") from error


def _inspect(file: Path) -> None:
    try:
        with file.open("rb") as opened:
            head = opened.read(len(_MAGIC))
    except OSError as error:
        raise DatabaseError(f"{str(file)!r} cannot be read: {error.strerror}") from error
    if not head:
        return
    if head != _MAGIC:
        raise DatabaseError(f"{str(file)!r} is not an SQLite database; it was left as it is")
    if not os.access(file, os.W_OK):
        raise DatabaseError(f"{str(file)!r} cannot be written; check its permissions")
    connection = _open_for_a_look(file)
    try:
        application_id: int = connection.execute("PRAGMA application_id").get
        tables: int = connection.execute("SELECT count(*) FROM sqlite_schema").get
        if application_id != APPLICATION_ID and (application_id or tables):
            raise DatabaseError(
                f"{str(file)!r} is another program's database (application_id {application_id:#x}, {tables} tables, "
                "indexes and views); it was left as it is"
            )
        if tables:
            require_known(connection)
    except apsw.Error as error:
        raise DatabaseError(f"{str(file)!r} cannot be read: {error}") from error
    finally:
        connection.close()


def _open_for_a_look(file: Path) -> apsw.Connection:
    """Open the file so that looking at it changes nothing: no log is made where there is none, none is folded in."""
    has_log = any(Path(f"{file}{suffix}").exists() for suffix in ("-wal", "-journal"))
    uri = f"{file.resolve().as_uri()}?mode=ro{'' if has_log else '&immutable=1'}"
    try:
        connection = apsw.Connection(uri, flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI)
    except apsw.Error as error:
        raise DatabaseError(f"{str(file)!r} cannot be opened: {error}") from error
    connection.set_busy_timeout(5000)
    return connection
