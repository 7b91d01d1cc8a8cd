"""Examines a database of this package through SQLite, without changing a byte of it."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import apsw

from swarm_persistence.cli.failure import CommandError
from swarm_persistence.cli.finding import Finding, Level, advice, ok, wrong
from swarm_persistence.cli.log_examination import LARGE_LOG_BYTES, examine_log, foreign, reason_not_to_apply
from swarm_persistence.cli.missing_dependencies import QUERY, missing_dependency
from swarm_persistence.cli.remedies import command, restore
from swarm_persistence.cli.repairs import examine_needs
from swarm_persistence.clock import now_in_microseconds
from swarm_persistence.engines.sql.sqlite import checksums, schema_version
from swarm_persistence.engines.sql.sqlite.file import FileState, inspect
from swarm_persistence.engines.sql.sqlite.log import Log, read_log
from swarm_persistence.engines.sql.sqlite.migrations import LATEST
from swarm_persistence.engines.sql.sqlite.raw_file import MAGIC, RawFile, companions, is_for_log, page_size_of, size_of
from swarm_persistence.engines.sql.sqlite.read_only import opened_read_only
from swarm_persistence.storage.task_dependencies import MISSING_AFTER_SECONDS

SQLITE_RELEASE = apsw.sqlite_lib_version()

_MOST_LINES = 5
_BUSY_MILLISECONDS = 5000


def require_ours(path: Path) -> None:
    """Raise `CommandError` unless the file is a database of this package; change nothing."""
    if path.is_dir():
        raise CommandError(f"{str(path)!r} is a directory; give the path of a file")
    try:
        with RawFile(path.resolve()) as file:
            header = file.read(0, len(MAGIC))
    except apsw.CantOpenError as error:
        raise CommandError(f"{str(path)!r} cannot be read; check its permissions (SQLite: {error})") from error
    if header != MAGIC:
        raise CommandError(f"{str(path)!r} is not an SQLite database, or its first page is destroyed")
    # Accept the file with or without its log: the log of another file proves nothing about this one.
    found, errors = [], []
    for with_log in (True, False):
        try:
            with opened_read_only(path, _BUSY_MILLISECONDS, with_log=with_log) as connection:
                found.append(connection.pragma("application_id"))
        except apsw.Error as error:
            errors.append(error)
    if not found:
        raise CommandError(f"{str(path)!r} cannot be read: {errors[0]}", exit_code=1) from errors[0]
    if schema_version.APPLICATION_ID not in found:
        with suppress(apsw.Error), opened_read_only(path, _BUSY_MILLISECONDS) as connection:
            if not found[0] and not connection.execute("SELECT count(*) FROM sqlite_schema").get:
                inspection = inspect(str(path.resolve()), _BUSY_MILLISECONDS / 1000)
                if inspection.state is FileState.DAMAGED and inspection.refusal is not None:
                    raise CommandError(inspection.refusal.message, exit_code=1)
                raise CommandError(f"{str(path)!r} is an SQLite database that holds nothing yet; opening it fills it")
        raise CommandError(f"{str(path)!r} is another program's database (application_id {found[0]:#x})")


def require_recoverable(path: Path) -> None:
    """Raise unless the path may name a database of this package, however damaged.

    Raises:
        CommandError: there is no such file and no log, or it is another program's.
        MigrationError: it is newer than this code.

    """
    if not size_of(path.resolve()) and read_log(companions(path)[0]) is None:
        raise CommandError(f"there is no database at {str(path)!r}, and no log of one")
    # Read without the log: it may belong to another program's database.
    with suppress(apsw.Error), opened_read_only(path, _BUSY_MILLISECONDS, with_log=False) as connection:
        application_id = connection.pragma("application_id")
        if application_id not in (schema_version.APPLICATION_ID, 0):
            raise CommandError(f"{str(path)!r} is another program's database (application_id {application_id:#x})")
        schema_version.require_known(connection)


def is_log_to_be_used(path: Path, choice: str | None) -> bool:
    """Return whether a recovery reads the log; raise `CommandError` if that is doubtful and was not specified."""
    if choice is not None:
        return choice == "use"
    log = read_log(companions(path)[0], page_size_of(path)) if size_of(path.resolve()) else None
    if log is None:
        return True
    problems = _problems(path, "quick_check", with_log=True)
    reason = _reason_not_to_apply(path, log, problems, "quick_check")
    if reason is not None:
        raise CommandError(
            f"the log beside {str(path)!r} seems to be of another database or state: {reason}; say --log ignore to "
            "read the file alone, or --log use to read both, into two new files if in doubt"
        )
    return True


def examine_content(path: Path, *, is_quick: bool, large_log_bytes: int = LARGE_LOG_BYTES) -> Iterator[Finding]:
    """Yield the findings on the file's journal, log, content and schema."""
    check = "quick_check" if is_quick else "integrity_check"
    before = _state(path)
    findings = list(_examine_safely(path, check, large_log_bytes))
    if _state(path) != before and any(finding.level is Level.WRONG for finding in findings):
        # A process that has opened the file meanwhile may have moved pages from the log into it.
        findings = list(_examine_safely(path, check, large_log_bytes))
    yield from findings


def _state(path: Path) -> list[tuple[int, int] | None]:
    """Return values that change when the file is written to."""
    files = (path.resolve(), *companions(path))
    stats = [each.stat() if each.exists() else None for each in files]
    return [stat and (stat.st_mtime_ns, stat.st_size) for stat in stats]


def _examine_safely(path: Path, check: str, large_log_bytes: int) -> Iterator[Finding]:
    try:
        yield from _examine(path, check, large_log_bytes)
    except (apsw.CorruptError, apsw.NotADBError) as error:
        yield wrong("content", f"damaged (SQLite: {error})", restore(path))
    except (apsw.BusyError, apsw.LockedError) as error:
        yield wrong("lock", f"another process holds the file (SQLite: {error})", "try again when it has finished")
    except apsw.Error as error:
        yield wrong("access", f"SQLite: {error}", "check the permissions of the file and its directory, and the disk")


def _examine(path: Path, check: str, large_log_bytes: int) -> Iterator[Finding]:
    problems = _problems(path, check, with_log=True)
    log_file, index, _ = companions(path)
    log = read_log(log_file, page_size_of(path))
    reason = _reason_not_to_apply(path, log, problems, check)
    if reason and index.exists():
        # Connections may be writing to it: report only what a second check confirms.
        log = read_log(log_file, page_size_of(path))
        reason = _reason_not_to_apply(path, log, problems, check)
    yield _journal(path, with_log=not reason)
    if reason:
        yield foreign(path, reason)
        problems = _problems(path, check, with_log=False)
    elif size_of(log_file):
        yield examine_log(path, log, large_log_bytes)
    else:
        yield ok("log (WAL)", "none, or empty: all is in the file")
    yield _integrity(path, check, problems, " without the log" if reason else "")
    with opened_read_only(path, _BUSY_MILLISECONDS, with_log=not reason) as connection:
        yield _schema(path, connection)
        yield from examine_needs(path, connection, is_deep=False)
        if schema_version.status(connection).version == LATEST:
            old = now_in_microseconds() - round(MISSING_AFTER_SECONDS * 1_000_000)
            yield missing_dependency(connection.execute(QUERY.format(prefix="", old=old)).fetchall())
    yield from _checksums(path)


def _reason_not_to_apply(path: Path, log: Log | None, problems: list[str], check: str) -> str | None:
    if log is None:
        return None
    return reason_not_to_apply(path, log, problems, lambda: _problems(path, check, with_log=False))


def _checksums(path: Path) -> Iterator[Finding]:
    """Yield the findings on the checksums of the file, not of its log, if it has any."""
    check = "checksums"
    pages = checksums.damaged_pages(path.resolve())
    if pages is None:
        return
    if not pages:
        yield ok(check, "kept, and correct in all pages of the file")
        return
    more = f" and {len(pages) - _MOST_LINES} more" if len(pages) > _MOST_LINES else ""
    detail = f"wrong in {len(pages):,} pages: {', '.join(map(str, pages[:_MOST_LINES]))}{more}"
    remedy = (
        f"{restore(path)}; if everything else is ok, another SQLite program may have written to the file, "
        f"and {command('checksums', path)} recreates them"
    )
    yield wrong(check, detail, remedy)


def _journal(path: Path, *, with_log: bool) -> Finding:
    check = "journal mode"
    if size_of(companions(path)[2]):
        remedy = "open it with swarm-persistence: that undoes the interrupted write; keep the -journal beside the file"
        return advice(check, "a write was interrupted, or goes on: there is a rollback journal", remedy)
    # A connection that must not create a log reports another mode than the file's header.
    if is_for_log(path) or (with_log and size_of(companions(path)[0])):
        return ok(check, "wal")
    remedy = "open it once with swarm-persistence while no other program has it open: that switches it to wal"
    return wrong(check, "delete, not wal: readers and writers block each other", remedy)


def _problems(path: Path, check: str, *, with_log: bool) -> list[str]:
    """Return the result of the check; a page that aborts it is a finding, too."""
    try:
        with opened_read_only(path, _BUSY_MILLISECONDS, with_log=with_log) as connection:
            rows: Any = connection.execute(f"PRAGMA {check}").fetchall()
    except (apsw.CorruptError, apsw.NotADBError) as error:
        return [str(error)]
    return [text for (text,) in rows if text != "ok"]


def _integrity(path: Path, check: str, problems: list[str], where: str = "") -> Finding:
    if not problems:
        return ok(check, f"ok{where}")
    more = f"; and {len(problems) - _MOST_LINES} more" if len(problems) > _MOST_LINES else ""
    return wrong(check, "; ".join(problems[:_MOST_LINES]) + more, restore(path))


def _schema(path: Path, connection: apsw.Connection) -> Finding:
    check = "schema"
    status = schema_version.status(connection)
    version = status.version
    if version > LATEST and status.opens_from <= LATEST:
        detail = f"version {version}; this code knows {LATEST}, and works on it"
        return advice(check, detail, "upgrade swarm-persistence")
    if version > LATEST:
        return wrong(check, f"version {version}, newer than this code's {LATEST}", "upgrade swarm-persistence")
    missing = sorted(_objects_of(version).items() - _objects(connection).items())
    if missing:
        names = ", ".join(f"{kind} {name}" for (kind, name), _ in missing)
        return wrong(check, f"version {version}, but missing or changed: {names}", restore(path))
    if version < LATEST:
        remedy = f"run {command('migrate', path)}, or open it: that brings it up to date"
        return advice(check, f"version {version}; the latest is {LATEST}", remedy)
    return ok(check, f"version {version}, the latest")


def _objects_of(version: int) -> dict[tuple[str, str], str]:
    """Return the definition of each table and index of this schema version."""
    model = apsw.Connection(":memory:")
    try:
        schema_version.migrate(model, version)
        return _objects(model)
    finally:
        model.close()


def _objects(connection: apsw.Connection) -> dict[tuple[str, str], str]:
    rows: Any = connection.execute("SELECT type, name, sql FROM sqlite_schema WHERE sql IS NOT NULL").fetchall()
    # After a downgrade, the text may differ in whitespace and quotes.
    return {(kind, name): " ".join(text.replace('"', "").split()) for kind, name, text in rows}
