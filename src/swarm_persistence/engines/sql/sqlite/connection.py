"""Opens connections: the same pragmas on each, and a busy handler that shares the file fairly with other processes."""

import random
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import apsw
import msgspec

from swarm_persistence.clock import now_in_microseconds
from swarm_persistence.engines.sql.sqlite import checksums, vectors
from swarm_persistence.engines.sql.sqlite.access import Access, connect
from swarm_persistence.engines.sql.sqlite.settings import SqliteSettings
from swarm_persistence.query.json_tests import PASSES_JSON, JsonTest, json_predicate
from swarm_persistence.query.query import FromNow
from swarm_persistence.query.semantics import percentile_of
from swarm_persistence.schema.values import decode_json

_SYNCHRONOUS = {"full": "FULL", "normal": "NORMAL"}
_LARGEST_IDLE_LOG_BYTES = 64 * 1024 * 1024
_LONGEST_LOG_PAGES = 4_000
"""Pages of the log after which SQLite checkpoints it within a commit; mostly the writer has done so before."""
_CACHE_KIBIBYTES = 16 * 1024
_STATEMENTS_KEPT = 128  # one of a large INSERT takes up to half a megabyte


class LockWait(msgspec.Struct, eq=False, gc=False):
    """How what runs now waits for another process's lock, by default up to `connection_timeout`."""

    deadline: float | None = None
    """Up to which time of the monotonic clock, if that is the limit."""
    is_wanted: Callable[[], bool] | None = None
    """Whether a caller still waits for what needs the lock, where that can change."""
    is_waiting: bool = False


class BusyHandler:
    """Waits for another process's lock, up to `connection_timeout`.

    SQLite's own backoff is unfair: the longer a process has waited, the longer it sleeps, and of four processes that
    claim for a few seconds one gets everything. Short waits of random length give equal chances.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._usual_deadline = 0.0
        self.wait = LockWait()
        """Replaced by what has limits of its own, and again at its end."""

    def __call__(self, attempts: int) -> bool:
        """Sleep, and let SQLite retry; `False` once the deadline has passed, or no caller waits any more."""
        wait = self.wait
        if wait.is_wanted is not None and not wait.is_wanted():
            return False
        if attempts == 0:
            self._usual_deadline = time.monotonic() + self._timeout
        if time.monotonic() >= (self._usual_deadline if wait.deadline is None else wait.deadline):
            return False
        wait.is_waiting = True
        time.sleep(random.uniform(0.0005, 0.0015))
        return True


def open_connection(
    path: str, settings: SqliteSettings, busy_handler: BusyHandler, *, is_reader: bool, access: Access = Access.WRITE
) -> apsw.Connection:
    """Open the file, which must exist, and set up the connection; pages are verified if the file keeps checksums.

    Raises:
        OtherError: the file keeps checksums and this apsw cannot verify them, or checksums are requested and it keeps
            none.

    """
    connection = _connect(path, access, settings.vfs, busy_handler)
    # A checkpoint without the VFS would write pages without checksums, and the last connection to close runs one.
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    try:
        are_kept = checksums.are_kept(connection)
        if not are_kept and settings.checksums:
            checksums.require_new(connection)
    except BaseException:
        connection.close()
        raise
    # Without locks, SQLite reads through another VFS, which verifies nothing.
    if (are_kept or settings.checksums) and access is not Access.READ_LOG_IN_MEMORY:
        connection.close()
        connection = _connect(path, access, checksums.load_vfs(), busy_handler)
        checksums.reserve(connection)
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0)
    connection.convert_binding = _moment
    # Otherwise SQLite replans a statement for other values, at several times its cost, and finds the same plan.
    connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
    # Pragmas belong to the connection, not to the file.
    for pragma, value in (
        ("synchronous", _SYNCHRONOUS[settings.durability]),
        ("journal_size_limit", _LARGEST_IDLE_LOG_BYTES),
        ("wal_autocheckpoint", _LONGEST_LOG_PAGES),
        ("cache_size", -_CACHE_KIBIBYTES),
        ("mmap_size", 0),  # a mapped file turns an I/O error into a SIGBUS
        ("query_only", int(is_reader)),
    ):
        connection.execute(f"PRAGMA {pragma} = {value}").fetchall()
    add_json_function(connection)
    if not HAS_PERCENTILE:
        add_percentile(connection)
    if vectors.IS_INSTALLED:
        vectors.add_functions(connection)
    return connection


def _connect(path: str, access: Access, vfs: str | None, busy_handler: BusyHandler) -> apsw.Connection:
    connection = connect(path, access, vfs=vfs, statements_kept=_STATEMENTS_KEPT)
    connection.set_busy_handler(busy_handler)
    return connection


def _moment(_cursor: apsw.Cursor, _number: int, value: Any) -> int:
    """Bind a time that is relative to the start of the statement."""
    if isinstance(value, FromNow):
        return value.after(now_in_microseconds())
    raise TypeError(f"SQLite has no column for {value!r}")


def switch_to_wal(connection: apsw.Connection, timeout: float) -> None:
    """Set the journal mode of a new file; retry, as SQLite raises "locked" at once if other processes do the same."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            if connection.execute("PRAGMA journal_mode = WAL").fetchall() == [("wal",)]:
                return
        except apsw.BusyError:
            pass
        if time.monotonic() >= deadline:
            raise apsw.BusyError("the file could not be switched to WAL: another process holds it")
        time.sleep(random.uniform(0.0005, 0.0015))


HAS_PERCENTILE = "ENABLE_PERCENTILE" in apsw.compile_options
"""Whether this build of SQLite has the percentile function of its own."""


def add_json_function(connection: apsw.Connection) -> None:
    """Give the connection a function that tests JSON as Python does, where SQLite's own functions would err."""
    connection.create_scalar_function(PASSES_JSON, _passes, 2, deterministic=True)


def _passes(*arguments: Any) -> bool:
    text, test = arguments
    try:
        return _predicate(test)(text)
    except msgspec.MsgspecError as error:
        raise apsw.SQLError("malformed JSON") from error  # as SQLite's functions say


@lru_cache(maxsize=64)
def _predicate(test: str) -> Callable[[Any], bool]:
    path, operator, value = decode_json(test)
    return json_predicate(JsonTest(tuple(path), operator, value))


class _Percentile:
    """The values of one group."""

    def __init__(self) -> None:
        self._values: list[float] = []
        self._fraction = 0.0

    def step(self, *arguments: Any) -> None:
        """Add a value."""
        value, self._fraction = arguments
        if value is not None:
            self._values.append(value)

    def final(self) -> float | None:
        """Return the percentile of the values."""
        return percentile_of(self._values, self._fraction)


def add_percentile(connection: apsw.Connection) -> None:
    """Give the connection a `percentile_cont(value, fraction)` that computes the same numbers as SQLite's own."""
    connection.create_aggregate_function("percentile_cont", _Percentile, 2)
