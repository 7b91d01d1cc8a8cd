"""Inspects a database file before it is opened: is it ours, new, or something to leave alone?

Only SQLite opens the file, its `-wal` and its `-shm`: when a process closes any descriptor of a file, it loses all its
POSIX locks on it, also those of a connection that another thread has open.
"""

import os
import shlex
import stat
from enum import StrEnum
from pathlib import Path

import apsw
import msgspec

from swarm_persistence.engines.sql.sqlite.access import Access, connected, is_writable, reading_access
from swarm_persistence.engines.sql.sqlite.log import dropped_commits
from swarm_persistence.engines.sql.sqlite.rust_crate import has_tables_of_the_crate
from swarm_persistence.engines.sql.sqlite.schema_version import APPLICATION_ID, require_openable
from swarm_persistence.errors import DatabaseError, MigrationError, StorageError, shown

_LOG_HEADER_BYTES = 32
_COMMITS_WITHOUT_SYNC = 2
"""The most commits that a power cut in the first opening tears, also with `durability="normal"`: the first write of a
record comes after one that is synced."""
_JOURNAL_MAGIC = bytes.fromhex("d9d505f920a163d7")


class FileState(StrEnum):
    """What a path names."""

    MISSING = "missing"
    EMPTY = "empty"
    """An empty file, which opening initializes."""
    LOG_ALONE = "log alone"
    """No file or an empty one beside a log with content, which opening would destroy."""
    NEW = "new"
    """An SQLite database without content, which opening initializes."""
    OURS = "ours"
    """A database of this package, perhaps of another version."""
    FOREIGN = "foreign"
    """Another program's SQLite database."""
    NO_DATABASE = "no database"
    """A directory, a device, or a file that SQLite does not know; or the first page of a database is destroyed."""
    DAMAGED = "damaged"
    """A database whose schema cannot be read."""
    INTERRUPTED = "interrupted"
    """A database with a hot journal: its content is unknown until SQLite rolls the interrupted write back."""
    UNREADABLE = "unreadable"
    """This process is not permitted to read it."""


class Inspection(msgspec.Struct, frozen=True):
    """What `inspect` has found."""

    state: FileState
    refusal: StorageError | None = None
    """The error that opening raises; `None` if it can be opened. `MigrationError` for a file of ours that is too new
    for this code, or that another program has marked as its own."""


def resolve(path: str | os.PathLike[str]) -> str:
    """Return the absolute path of the file that a path names, with all symbolic links followed.

    The log of a database lies beside the file itself, not beside a link to it.

    Raises:
        DatabaseError: no file can have such a name.

    """
    name = os.fspath(path) if isinstance(path, os.PathLike) else path
    if not isinstance(name, str) or not name:
        raise DatabaseError(f"the path is {shown(name)}, expected a str, or a path of str, that is not empty")
    if name == ":memory:":
        raise DatabaseError(
            "':memory:' is not a file, and a pool cannot share a connection's own database in memory; "
            "use MemoryStorage() or init_storage(':memory:'), or './:memory:' for a file of that name"
        )
    if "\0" in name:
        raise DatabaseError(f"the path {name!r} contains NUL, which no name of a file can")
    real = os.path.realpath(_require_utf_8(name))
    if os.path.islink(real):
        raise DatabaseError(f"{real!r} cannot be followed: Too many levels of symbolic links")
    length = len(_require_utf_8(real).encode())  # the path may resolve to bytes that are not UTF-8
    # Refused here: SQLite would make the file, and then find that its journal cannot have a name.
    longest = int(apsw.vfs_details()[0]["mxPathname"]) - len("-journal")
    if length > longest:
        raise DatabaseError(f"the path {real!r} has {length} bytes; SQLite takes {longest} at most")
    return real


def inspect(path: str, timeout: float, vfs: str | None = None) -> Inspection:
    """Look at what a path, as `resolve` returns it, names; change nothing, and touch the files through SQLite only.

    The file is first read without its log and journal, so that another program's database gets no new file beside it;
    then, if it may be ours and has a log, as a reader of SQLite's. Safe at any time, also while this process or others
    have the file open. An interrupted write is not rolled back: see `FileState.INTERRUPTED`.

    Raises:
        apsw.BusyError: another process kept the file locked for longer than the timeout, in seconds.
        apsw.Error: SQLite could not look, as when the disk fails or no descriptor is left.

    """
    try:
        journal_bytes = _size_of(f"{path}-journal")  # the longest name that SQLite needs
        # Check the log before the file: another process that creates them writes the file first.
        log_bytes = _size_of(f"{path}-wal")
        info = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return _without_content(path, FileState.MISSING, log_bytes)
    except OSError as error:
        return _refusal(FileState.UNREADABLE, f"{path!r} or its log cannot be read: {error.strerror}")
    if stat.S_ISDIR(info.st_mode):
        return _refusal(FileState.NO_DATABASE, f"{path!r} is a directory; give the path of a file")
    if not stat.S_ISREG(info.st_mode):
        return _refusal(FileState.NO_DATABASE, f"{path!r} is a device, a pipe or a socket; give the path of a file")
    if info.st_size == 1:
        return _not_a_database(path)  # SQLite would treat it as empty
    if not info.st_size:
        return _without_content(path, FileState.EMPTY, log_bytes)
    if not os.access(path, os.R_OK):
        return _refusal(FileState.UNREADABLE, f"{path!r} cannot be read: Permission denied")
    return _inspect_content(path, timeout, vfs, has_log=bool(log_bytes or journal_bytes))


def _without_content(path: str, state: FileState, log_bytes: int) -> Inspection:
    if log_bytes <= _LOG_HEADER_BYTES:
        return Inspection(state)
    return _refusal(
        FileState.LOG_ALONE,
        f"{path!r} is {state}, but its log {path + '-wal'!r} holds {log_bytes:,} bytes, which opening would destroy: "
        "put the file back beside its log; or take the records out of the log with `swarm-persistence recover DATABASE "
        "TARGET`; or move the log away to begin anew",
    )


def _inspect_content(path: str, timeout: float, vfs: str | None, *, has_log: bool) -> Inspection:
    try:
        alone = _inspect_with_access(path, Access.READ_FILE_ALONE, timeout, vfs)
    except (apsw.CorruptError, apsw.NotADBError):
        alone = None  # perhaps only torn: by another process that is just writing, or by a power cut that a log mends
    if alone is not None and (alone.state is FileState.FOREIGN or not has_log):
        # The first transaction writes our application id into the first page, so a log cannot add it.
        return alone
    access = Access.READ if has_log else Access.READ_FILE_ALONE
    if has_log and not is_writable(path):
        access = reading_access(path)
    try:
        return _inspect_with_access(path, access, timeout, vfs)
    except apsw.CorruptError as error:
        return _refusal(
            FileState.DAMAGED,
            f"{path!r} is damaged (SQLite: {error}); restore it from a backup, or take what can be read out of it with "
            "`swarm-persistence recover DATABASE TARGET`",
        )
    except apsw.NotADBError:
        return _not_a_database(path)
    except apsw.ReadOnlyError as error:
        if getattr(error, "extendedresult", None) != apsw.SQLITE_READONLY_ROLLBACK:
            raise
        if alone is None and not _is_journal(f"{path}-journal"):
            return _not_a_database(path)  # SQLite would delete what it takes for the journal
        return _refusal(
            FileState.INTERRUPTED,
            f"{path!r} was left by an interrupted write; to roll it back, this process must be able to write to the "
            "file and its directory",
        )


def _inspect_with_access(path: str, access: Access, timeout: float, vfs: str | None) -> Inspection:
    with connected(path, access, timeout, vfs) as connection:
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)  # a reader cannot lock for a checkpoint
        connection.execute("BEGIN").fetchall()  # one snapshot: another process may be bringing the file up
        application_id: int = connection.execute("PRAGMA application_id").get
        objects: int = connection.execute("SELECT count(*) FROM sqlite_schema").get
        if not application_id and has_tables_of_the_crate(connection):
            return _refusal(
                FileState.FOREIGN,
                f"{path!r} is a database of the Rust crate ruv-swarm-persistence; it was left as it is: import it with "
                f"`swarm-persistence import-rust {shlex.quote(path)} NEW`",
            )
        if application_id != APPLICATION_ID and (application_id or objects):
            return _refusal(
                FileState.FOREIGN,
                f"{path!r} is another program's database (application_id {application_id:#x}, {objects} tables, "
                "indexes and views); it was left as it is",
            )
        if not objects:
            return _without_tables(path)
        try:
            require_openable(connection)
        except MigrationError as error:
            return Inspection(FileState.OURS, error)
        return Inspection(FileState.OURS)


def _require_utf_8(path: str) -> str:
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise DatabaseError(f"the path {path!r} is not UTF-8; SQLite cannot open such a file") from error
    return path


def _size_of(path: str) -> int:
    try:
        return os.stat(path).st_size
    except (FileNotFoundError, NotADirectoryError):
        return 0


def _is_journal(path: str) -> bool:
    # SQLite holds no lock on a journal: it may be opened here.
    with open(path, "rb") as journal:
        return journal.read(len(_JOURNAL_MAGIC)) == _JOURNAL_MAGIC


def _not_a_database(path: str) -> Inspection:
    return _refusal(
        FileState.NO_DATABASE,
        f"{path!r} is not an SQLite database, or its first page is destroyed; it was left as it is",
    )


def _without_tables(path: str) -> Inspection:
    """Distinguish a new database from one whose first commits are in a damaged part of its log."""
    hidden = dropped_commits(Path(f"{path}-wal"))
    if hidden <= _COMMITS_WITHOUT_SYNC:
        return Inspection(FileState.NEW)
    return _refusal(
        FileState.DAMAGED,
        f"{path!r} seems to be new, but its log holds {hidden:,} commits behind a damaged frame, which opening would "
        "destroy: take the records out of the log with `swarm-persistence recover DATABASE TARGET`; or move the log "
        "away to begin anew",
    )


def _refusal(state: FileState, message: str) -> Inspection:
    return Inspection(state, DatabaseError(message))
