"""Examines a database's log (WAL): does it belong to the file, is it intact, can it be truncated?"""

from collections.abc import Callable
from pathlib import Path

import apsw

from swarm_persistence.cli.file_system import name_of
from swarm_persistence.cli.finding import Finding, advice, ok, wrong
from swarm_persistence.cli.log_readers import old_readers
from swarm_persistence.cli.remedies import backup, recover
from swarm_persistence.engines.sql.sqlite import schema_version
from swarm_persistence.engines.sql.sqlite.log import Log, read_log
from swarm_persistence.engines.sql.sqlite.raw_file import RawFile, companions, page_size_of, size_of
from swarm_persistence.engines.sql.sqlite.read_only import opened_read_only

LARGE_LOG_BYTES = 64 * 1024 * 1024

_CHECK = "log (WAL)"
_CHANGE_COUNTER_AT = 24
_APPLICATION_ID_AT = 68

ProblemsAlone = Callable[[], list[str]]
"""The result of an integrity check of the file without its log."""


def reason_not_to_apply(path: Path, log: Log, problems: list[str], problems_alone: ProblemsAlone) -> str | None:
    """Return the reason why a log that SQLite would apply belongs to another file; `None` if there is none."""
    applied = log.applied()
    with RawFile(path.resolve()) as file:
        header = file.read(0, 100)
    if not applied or len(header) < 100:
        return None
    if log.page_size != (page_size := page_size_of(path)):
        return f"its pages have {log.page_size:,} bytes, those of the file {page_size:,}"
    if _change_counter(companions(path)[0], log) < int.from_bytes(header[_CHANGE_COUNTER_AT : _CHANGE_COUNTER_AT + 4]):
        return "it is older than the file, as the log of an earlier state beside a restored copy is"
    identity, identity_with_log = (_identity_of(path, with_log=with_log) for with_log in (False, True))
    if identity is not None and identity_with_log is not None and identity_with_log != identity:
        return f"it is of {identity_with_log}, and the file is {identity}"
    if problems and not problems_alone():
        return "the file is sound without it, and damaged with it"
    return None


def only_in_log(path: Path) -> Finding | None:
    """Return the finding that the file is missing or empty, but its log is not; else `None`."""
    log_file = companions(path)[0]
    if size_of(path.resolve()) or not size_of(log_file):
        return None
    log = read_log(log_file)
    header = log.last_state_of(1) if log is not None else None
    if header is None:
        return None
    with RawFile(log_file) as file:
        application_id = int.from_bytes(file.read(header.offset + _APPLICATION_ID_AT, 4))
    if application_id != schema_version.APPLICATION_ID:
        return None
    state = "empty" if path.exists() else "missing"
    detail = f"the file is {state}, and its log of {size_of(log_file):,} bytes holds its content"
    remedy = f"open it with nothing: that would destroy the log. {recover(path)} takes the content from it"
    return wrong("content", detail, remedy)


def foreign(path: Path, reason: str) -> Finding:
    """Return the finding that the log would damage the file."""
    log, _, _ = companions(path)
    remedy = (
        f"open it with nothing: the next checkpoint would write that into the file. Copy the file and {log.name}, then "
        f"move {log.name} away; {recover(path, '--log', 'ignore')} reads the file alone"
    )
    return wrong(_CHECK, f"{size_of(log):,} bytes, the log of another database or state: {reason}", remedy)


def examine_log(path: Path, log: Log | None, large_log_bytes: int) -> Finding:
    """Return the finding on a log that belongs to the file."""
    file, index, _ = companions(path)
    size = size_of(file)
    if log is None or not log.frames:
        return ok(_CHECK, f"{size:,} bytes, left by an earlier use of the log; SQLite ignores them")
    if dropped := _settled(file, log, is_in_use=index.exists()):
        return _damaged(path, size, log, dropped)
    frames, copied = _progress(path) if index.exists() else (len(log.applied()), 0)
    shown = f"{size:,} bytes, {copied:,} of {frames:,} frames copied into the file"
    if copied < frames and index.exists() and (readers := old_readers(index)):
        holders = ", ".join(sorted({f"{each.process} ({name_of(each.process)})" for each in readers}))
        detail = f"{shown}; it cannot shrink: a reader has kept an old state for a second"
        remedy = f"end the reader's transaction, or its process: {holders}"
        return (wrong if size > large_log_bytes else advice)(_CHECK, detail, remedy)
    if _identity_of(path, with_log=False) is None:
        remedy = f"to copy the database, run {backup(path)}, never `cp` of the file alone"
        return advice(_CHECK, f"{shown}: the database exists in its log only, and the file alone holds nothing", remedy)
    if size > large_log_bytes:
        remedy = "await storage.checkpoint() shrinks it; no reader prevents that"
        return advice(_CHECK, f"{shown}: larger than it needs to be", remedy)
    return ok(_CHECK, shown)


def _progress(path: Path) -> tuple[int, int]:
    """Return the number of frames of a log in use, and how many of them are checkpointed."""
    with opened_read_only(path, 0) as connection:
        connection.pragma("schema_version")  # opens the log
        return connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_NOOP)


def _damaged(path: Path, size: int, log: Log, dropped: int) -> Finding:
    applied = len(log.applied())
    place = f"frame {applied + 1:,}" if log.has_header else "its header"
    detail = (
        f"{size:,} bytes, damaged at or behind {place}: SQLite drops {dropped:,} committed "
        f"{'transaction' if dropped == 1 else 'transactions'} without a word"
    )
    remedy = (
        "a power cut may do so to one that was not acknowledged yet; else, before anything opens the file, "
        f"{recover(path)} reads what is dropped, too"
    )
    # A power cut can tear what was not yet synced: with durability "full", that is one transaction.
    return (advice if dropped == 1 and log.has_header else wrong)(_CHECK, detail, remedy)


def _settled(file: Path, log: Log, *, is_in_use: bool) -> int:
    """Return how many commits SQLite drops; while the log is being written, only if a second reading agrees."""
    dropped = log.dropped()
    if dropped and is_in_use:
        again = read_log(file)
        if again is None or again.dropped() != dropped:
            return 0
    return sum(1 for frame in dropped if frame.pages_after_commit)


def _change_counter(file: Path, log: Log) -> int:
    """Return the change counter of the last header in a log; one above all counters if it has no header."""
    header = log.last_state_of(1)
    if header is None:
        return 2**32
    with RawFile(file) as opened:
        return int.from_bytes(opened.read(header.offset + _CHANGE_COUNTER_AT, 4))


def _identity_of(path: Path, *, with_log: bool) -> str | None:
    """Return the database's identity, the microsecond of its creation; `None` if it is unreadable or new."""
    try:
        with opened_read_only(path, 0, with_log=with_log) as connection:
            application_id = connection.pragma("application_id")
            if application_id != schema_version.APPLICATION_ID:
                return f"another program's (application_id {application_id:#x})" if application_id else None
            applied = schema_version.status(connection).applied
    except apsw.Error:
        return None
    return f"a database that was made {applied[0].applied_at}" if applied else None
