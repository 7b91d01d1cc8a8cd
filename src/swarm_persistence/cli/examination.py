"""Examines a database of ours through SQLite; reads the data, and changes none of it."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw

from swarm_persistence.cli.failure import CommandError
from swarm_persistence.cli.file_system import processes_with_open_file
from swarm_persistence.cli.finding import Finding, advice, ok, wrong
from swarm_persistence.engines.sql.sqlite import schema_version
from swarm_persistence.engines.sql.sqlite.migrations import LATEST

SQLITE_RELEASE = apsw.sqlite_lib_version()

_MAGIC = b"SQLite format 3\0"
_LARGE_LOG_BYTES = 64 * 1024 * 1024
_OLD_READER_SECONDS = 1.0
_LOOKS = 10
_MOST_LINES = 5
_BUSY_MILLISECONDS = 5000
_RESTORE = "restore a backup; without one, try the sqlite3 shell's .recover on a copy"


def require_ours(path: Path) -> None:
    """Raise `CommandError` unless the file is a database of this package; leaves it as it is."""
    if path.is_dir():
        raise CommandError(f"{str(path)!r} is a directory; give the path of a file")
    try:
        with path.open("rb") as file:
            head = file.read(len(_MAGIC))
    except OSError as error:
        raise CommandError(f"{str(path)!r} cannot be read: {error.strerror}") from error
    if head != _MAGIC:
        raise CommandError(f"{str(path)!r} is not an SQLite database, or its first page is destroyed")
    # Where there is no log, none must be made: the file may be another program's.
    has_log = any(path.with_name(path.name + suffix).exists() for suffix in ("-wal", "-journal"))
    uri = f"{path.resolve().as_uri()}?mode=ro{'' if has_log else '&immutable=1'}"
    try:
        connection = apsw.Connection(uri, flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI)
        try:
            connection.set_busy_timeout(_BUSY_MILLISECONDS)
            application_id = connection.pragma("application_id")
        finally:
            connection.close()
    except apsw.Error as error:
        raise CommandError(f"{str(path)!r} cannot be read: {error}", exit_code=1) from error
    if application_id != schema_version.APPLICATION_ID:
        raise CommandError(f"{str(path)!r} is another program's database (application_id {application_id:#x})")


def examine_content(path: Path, *, is_quick: bool, large_log_bytes: int = _LARGE_LOG_BYTES) -> Iterator[Finding]:
    """Yield what is to be said of the file's journal, log, content and schema."""
    # Read and write, since only that can tell whether the log can be emptied; but no new file.
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        connection.set_busy_timeout(_BUSY_MILLISECONDS)
        connection.pragma("query_only", True)  # lets checkpoints pass, and no change of data
        mode = connection.pragma("journal_mode")
        yield _journal(mode)
        if mode == "wal" and not connection.readonly("main"):
            yield _log(connection, path, large_log_bytes)
        yield _integrity(connection, is_quick)
        yield _schema(connection)
    except (apsw.CorruptError, apsw.NotADBError) as error:
        yield wrong("content", f"damaged (SQLite: {error})", _RESTORE)
    except (apsw.BusyError, apsw.LockedError) as error:
        yield wrong("lock", f"another process holds the file (SQLite: {error})", "try again when it has finished")
    except apsw.Error as error:
        yield wrong("access", f"SQLite: {error}", "check the permissions of the file and its directory, and the disk")
    finally:
        connection.close()


def _journal(mode: str) -> Finding:
    if mode == "wal":
        return ok("journal mode", "wal")
    remedy = "open it once with swarm-persistence while no other program has it open: that switches it to wal"
    return wrong("journal mode", f"{mode}, not wal: readers and writers block each other", remedy)


def _log(connection: apsw.Connection, path: Path, large_log_bytes: int) -> Finding:
    check = "log (WAL)"
    frames, copied = _checkpoint_patiently(connection)
    log = path.with_name(f"{path.name}-wal")
    size = log.stat().st_size if log.exists() else 0
    shown = f"{size:,} bytes"
    if copied < frames:
        holders = ", ".join(processes_with_open_file(path)) or "none that this user may see"
        detail = (
            f"{shown}; it cannot shrink: a reader has kept an old state for more than {_OLD_READER_SECONDS:g} s, "
            f"{copied:,} of {frames:,} frames could be copied into the file"
        )
        remedy = f"end the reader's transaction, or its process; processes that have the file open: {holders}"
        return (wrong if size > large_log_bytes else advice)(check, detail, remedy)
    if size > large_log_bytes:
        remedy = "await storage.checkpoint() shrinks it; no reader stands in the way"
        return advice(check, f"{shown}, all of it copied into the file: larger than it needs to be", remedy)
    return ok(check, f"{shown}, all of it copied into the file")


def _checkpoint_patiently(connection: apsw.Connection) -> tuple[int, int]:
    """Return how many frames the log has, and how many are copied, after waiting for readers that are merely busy."""
    frames = copied = 0
    for look in range(_LOOKS):
        if look:
            time.sleep(_OLD_READER_SECONDS / (_LOOKS - 1))
        frames, copied = connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        if copied >= frames:
            break
    return frames, copied


def _integrity(connection: apsw.Connection, is_quick: bool) -> Finding:
    check = "quick_check" if is_quick else "integrity_check"
    rows: Any = connection.execute(f"PRAGMA {check}").fetchall()
    problems = [text for (text,) in rows if text != "ok"]
    if not problems:
        return ok(check, "ok")
    more = f"; and {len(problems) - _MOST_LINES} more" if len(problems) > _MOST_LINES else ""
    return wrong(check, "; ".join(problems[:_MOST_LINES]) + more, _RESTORE)


def _schema(connection: apsw.Connection) -> Finding:
    check = "schema"
    version = schema_version.status(connection).version
    if version > LATEST:
        return wrong(check, f"version {version}, newer than this code's {LATEST}", "upgrade swarm-persistence")
    missing = sorted(_objects_of(version).items() - _objects(connection).items())
    if missing:
        names = ", ".join(f"{kind} {name}" for (kind, name), _ in missing)
        return wrong(check, f"version {version}, but missing or changed: {names}", _RESTORE)
    if version < LATEST:
        remedy = "open it with swarm-persistence: that brings it up to date"
        return advice(check, f"version {version}; the latest is {LATEST}", remedy)
    return ok(check, f"version {version}, the latest")


def _objects_of(version: int) -> dict[tuple[str, str], str]:
    """Return what a sound file of this version has: the text of each table and index."""
    model = apsw.Connection(":memory:")
    try:
        schema_version.migrate(model, version)
        return _objects(model)
    finally:
        model.close()


def _objects(connection: apsw.Connection) -> dict[tuple[str, str], str]:
    rows: Any = connection.execute("SELECT type, name, sql FROM sqlite_schema WHERE sql IS NOT NULL").fetchall()
    return {(kind, name): text for kind, name, text in rows}
