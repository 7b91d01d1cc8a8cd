"""Looks at a path before anything is written to it: is it ours, new, or something that must stay as it is?"""

import os
from pathlib import Path

import apsw

from swarm_persistence.engines.sql.sqlite.schema_version import APPLICATION_ID, require_known
from swarm_persistence.errors import DatabaseError

_MODE_OF_NEW_FILE = 0o600
_MAGIC = b"SQLite format 3\0"


def prepare(path: str, timeout: float) -> None:
    """Create the file if there is none, readable by its owner only; refuse one that is not ours, and leave it as it is.

    Raises:
        DatabaseError: the path is a directory, its parent is missing, or the file is another program's or cannot be
            read or written.
        MigrationError: the file is newer than this code.
        apsw.BusyError: another process kept the file locked for longer than the timeout, in seconds.

    """
    file = Path(path)
    if file.is_dir():
        raise DatabaseError(f"{path!r} is a directory; give the path of a file")
    if not file.parent.is_dir():
        raise DatabaseError(f"{path!r} cannot be created: the directory {str(file.parent)!r} does not exist")
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE_OF_NEW_FILE))
    except FileExistsError:
        _inspect(file, timeout)
    except OSError as error:
        raise DatabaseError(f"{path!r} cannot be created: {error.strerror}") from error


def _inspect(file: Path, timeout: float) -> None:
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
    # Without the log first: opening the log of a file that is not ours may leave a new file beside it.
    try:
        _look(file, "immutable=1", timeout)
        is_torn = False
    except apsw.CorruptError:
        is_torn = True  # perhaps only by another process that is just writing the page
    if _has_log(file):
        _look(file, "mode=ro", timeout)
    elif is_torn:
        _look(file, "immutable=1", timeout)


def _has_log(file: Path) -> bool:
    return any(Path(f"{file}{suffix}").exists() for suffix in ("-wal", "-journal"))


def _look(file: Path, mode: str, timeout: float) -> None:
    """Refuse a file that is not ours, or newer than this code."""
    uri = f"{file.resolve().as_uri()}?{mode}"
    connection = apsw.Connection(uri, flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI)
    try:
        connection.set_busy_timeout(int(timeout * 1000))
        connection.execute("BEGIN")  # one snapshot: another process may be bringing the file up
        application_id: int = connection.execute("PRAGMA application_id").get
        tables: int = connection.execute("SELECT count(*) FROM sqlite_schema").get
        if application_id != APPLICATION_ID and (application_id or tables):
            raise DatabaseError(
                f"{str(file)!r} is another program's database (application_id {application_id:#x}, {tables} tables, "
                "indexes and views); it was left as it is"
            )
        if tables:
            require_known(connection)
    finally:
        connection.close()
