"""The writing connection, which verifies around each commit that it writes to the file at its path.

Other programs may replace the file (see `file_identity`), and truncate or overwrite what was committed. The contents
are read through SQLite's own descriptors, and nothing here opens a file: closing any descriptor of it would drop this
process's locks.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress

import apsw

from swarm_persistence.engines.sql.sqlite.connection import BusyHandler, LockWait
from swarm_persistence.engines.sql.sqlite.failures import has_spoiled_connection, is_open_outcome, unknown_outcome
from swarm_persistence.engines.sql.sqlite.file_identity import FileIdentity
from swarm_persistence.engines.sql.sqlite.inotify import ATTRIBUTES_CHANGED, DELETED, ENDED, MODIFIED, MOVED, Inotify
from swarm_persistence.engines.sql.sqlite.schema_version import APPLICATION_ID
from swarm_persistence.engines.watches import Watches
from swarm_persistence.errors import DatabaseError, OutcomeUnknownError

_FILE, _LOG = 0, 1
_NO_CHECKPOINT = -1
"""SQLITE_CHECKPOINT_NOOP: only report the number of frames in the log."""
_LONGEST_LOG_FRAMES = 1_000
"""Frames of the log after which it is checkpointed, and between two attempts while a reader needs it."""
_FILE_HEADER_BYTES = 100
_LOG_HEADER_BYTES = 32
_FRAME_HEADER_BYTES = 24
_RESERVED_BYTES_AT = 20
_APPLICATION_ID = slice(68, 72)
_LOG_SALTS = slice(16, 24)
_FRAME_SALTS = slice(8, 16)
_ATTEMPTS = 10
"""How often a difference is checked again: another process may be in the middle of a checkpoint or of a log reset."""
_PAUSE_SECONDS = 0.002
_LONGEST_TRUST_SECONDS = 0.005
"""How long a commit relies on the verification of the one before, and on the system's reports of what was done to the
files since. Damage within that time is found after the commit, as damage during a commit is; and that much later what
the system does not report: a new name of a directory further up, a change by another machine. To verify before each
commit as well took 4 % of the time of a caller's single inserts, and 2 % with 100 callers."""
_QUICK_COMMITS_BEFORE_REPORTS = 100
"""How many commits follow another one at once before reports are worth a queue, of which each user has few."""
_DONE_TO_PATH = ATTRIBUTES_CHANGED | MOVED | DELETED
_DONE_TO_FILE = _DONE_TO_PATH | MODIFIED
"""The file itself is written by checkpoints alone. Each commit writes to its log."""


class WriterConnection:
    """Begins and ends transactions; used by the writer's thread, or by a session that holds the write lock."""

    def __init__(
        self,
        open_connection: Callable[[bool], apsw.Connection],
        identity: FileIdentity,
        busy_handler: BusyHandler,
        translate: Callable[[BaseException], BaseException],
        watches: Watches,
        *,
        reserve: Callable[[apsw.Connection], None] | None,
    ) -> None:
        """Open the connection; `open_connection` is told whether it is the first one.

        `reserve` runs before each transaction, and may run one of its own.
        """
        self._reserve = reserve
        self.watches = watches
        self._translate = translate
        self._open_connection = open_connection
        self._identity = identity
        self.busy_handler = busy_handler
        self._is_spoiled = False
        self._confirmed_at = self._verified_at = float("-inf")
        self._quick_commits = 0
        self._reports = _Reports()
        self.is_outcome_unknown = False
        """Whether a commit since this was last set to `False` may be stored or not."""
        self._due_at = _LONGEST_LOG_FRAMES
        self.is_checkpoint_due = False
        """Whether the log was long after the last commit, and was not checkpointed since."""
        self.connection = open_connection(True)
        self.cursor = self.connection.cursor()
        try:
            size = identity.record(self.connection)
            self._contents = None if self.connection.readonly("main") else _Contents(self.connection, size)
        except BaseException:
            self.connection.close()
            raise

    def translate(self, error: BaseException) -> BaseException:
        """Translate an error of the driver for the caller, and note whether the connection must be replaced."""
        self._is_spoiled = self._is_spoiled or has_spoiled_connection(error)
        return self._translate(error)

    def prepare(self) -> None:
        """Verify that the file is still at its path; reopen the connection if it has failed.

        Raises:
            DatabaseError: the file or its log is not the one that was opened.
            apsw.Error: the file cannot be opened.

        """
        if self._is_spoiled:
            self._reopen()
        contents, is_trusted = self._contents, time.monotonic() - self._confirmed_at < _LONGEST_TRUST_SECONDS
        if is_trusted and self._quick_commits < _QUICK_COMMITS_BEFORE_REPORTS:
            self._quick_commits += 1
            if self._quick_commits == _QUICK_COMMITS_BEFORE_REPORTS and self._identity.paths:
                self._reports.request(self._identity.paths)
        if contents is None or self._identity.is_wrong or not (is_trusted or contents.is_as_noted(self.connection)):
            self.verify(self.connection)
        if self._reserve is not None:
            self._reserve(self.connection)

    def confirm(self) -> None:
        """Verify that the commit is in the file at its path: only then is it acknowledged.

        Raises:
            OutcomeUnknownError: it is not, or that could not be verified.

        """
        contents, connection, now = self._contents, self.connection, time.monotonic()
        size: int | None = None
        try:
            is_recent = now - self._verified_at < _LONGEST_TRUST_SECONDS
            is_undisturbed = is_recent and self._reports.are_none()
            if not is_undisturbed:
                size = self._identity.verify_paths(trusts_index=not is_recent)
            if contents is not None and not (
                contents.note_commit(connection) and (is_undisturbed or contents.is_file_as_noted(connection, size))
            ):
                self.verify(connection)
            if not is_undisturbed:
                self._verified_at = now  # otherwise, the next `prepare` verifies everything
            self._confirmed_at = now
            self.is_checkpoint_due = contents is not None and contents.frames >= self._due_at
        except DatabaseError as error:
            self.is_outcome_unknown = True
            raise OutcomeUnknownError(f"{error.message}. What this call has written may be lost with it") from error
        except apsw.Error as error:
            self._is_spoiled = self.is_outcome_unknown = True
            raise unknown_outcome(error, self.connection.filename) from error

    def verify(self, connection: apsw.Connection) -> None:
        """Verify the files at the paths, and that they hold what was committed; not within a transaction.

        Raises:
            DatabaseError: they differ; the message says what has happened, and what to do.
            apsw.Error: they cannot be read.

        """
        size = self._identity.verify_paths()
        finding = None if self._contents is None else self._contents.finding(connection, size)
        if finding is not None:
            raise self._identity.damaged(finding)

    def checkpoint(self) -> None:
        """Checkpoint a long log, as far as readers allow, once the callers of its last commit have their answers.

        SQLite itself would do so within that commit, and all callers of the group would wait for it.
        """
        self.is_checkpoint_due = False
        if self._identity.is_wrong or self._is_spoiled:
            return
        # What fails here concerns no call: the log keeps what was committed, and is checkpointed after the next commit.
        with suppress(apsw.Error):
            frames, done = self.connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
            # While a reader needs the log, an attempt after each commit would do no more.
            self._due_at = _LONGEST_LOG_FRAMES if done == frames else frames + _LONGEST_LOG_FRAMES

    def verify_now_and_then(self) -> None:
        """Verify within a transaction that the paths lead to the file, unless done recently; raise as `prepare`."""
        self._identity.verify_now_and_then()

    def close(self) -> None:
        """Close the connection; SQLite checkpoints the log if file and log are still those that were opened."""
        with suppress(DatabaseError, apsw.Error):
            self.verify(self.connection)
        self._reports.end()
        self._identity.close(self.connection)

    def begin(self) -> None:
        """Begin a transaction; waits for other processes as long as the busy handler does."""
        self.cursor.execute("BEGIN IMMEDIATE")
        self.busy_handler.wait.is_waiting = False

    def commit(self) -> None:
        """Commit the open transaction.

        Raises:
            OutcomeUnknownError: it may or may not be stored.
            apsw.Error: it is not stored.

        """
        try:
            self.cursor.execute("COMMIT")
        except apsw.Error as error:
            self.roll_back()
            if is_open_outcome(error):
                raise self._lost(error) from error
            raise
        self.confirm()

    def _lost(self, error: apsw.Error) -> OutcomeUnknownError:
        """Return the caller's error for a commit of unknown outcome, and fix its outcome as it can be read now."""
        self._is_spoiled = self.is_outcome_unknown = True
        # The group may have had no time to wait for another process, and this must not fail for that.
        self.busy_handler.wait = LockWait()
        with suppress(DatabaseError, apsw.Error):
            # Frames left in the log would be applied after a crash unless they are overwritten.
            self.prepare()
            self.begin()
            self.cursor.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            self.cursor.execute("COMMIT")
        if self.connection.in_transaction:
            self.roll_back()
        return unknown_outcome(error, self.connection.filename)

    def roll_back(self) -> None:
        """Undo the open transaction, if there is one."""
        if self.connection.in_transaction:
            try:
                self.cursor.execute("ROLLBACK")
            except apsw.Error:
                self._is_spoiled = True  # closing it ends its open transaction

    def _reopen(self) -> None:
        """Open another connection before closing the failed one, so that the file stays locked."""
        connection = self._open_connection(False)
        try:
            self.verify(connection)
        except BaseException:
            self._identity.close(connection)
            raise
        spoiled, self.connection, self.cursor = self.connection, connection, connection.cursor()
        self._is_spoiled = False
        self._identity.close(spoiled)


class _Reports:
    """What the system reports to be done to the files, by any process of this machine; none where it cannot report."""

    def __init__(self) -> None:
        self._events: Inotify | None = None

    def request(self, paths: Iterable[str]) -> None:
        """Request the reports on the files at these paths, the database first."""
        # All queues may be in use, or the directory must not be read: then each commit verifies the paths.
        with suppress(OSError):
            self._events = events = Inotify(is_blocking=False)
            try:
                for number, path in enumerate(paths):
                    if not number:
                        events.watch(os.path.dirname(path), _DONE_TO_PATH)
                    events.watch(path, _DONE_TO_PATH if number else _DONE_TO_FILE)
            except OSError:
                self.end()
                raise

    def are_none(self) -> bool:
        """Tell whether nothing was reported since the last call, though it would have been."""
        events = self._events
        if events is None or events.count():
            return False
        if not events.waiting.value:
            return True
        if any(event & ENDED for event in events.read()):
            self.end()  # the file is gone
        return False

    def end(self) -> None:
        """Request no more of them; idempotent."""
        events, self._events = self._events, None
        if events is not None:
            events.close()


class _Contents:
    """The content that the last verification found, and the next must find again; used in the writer's thread."""

    def __init__(self, connection: apsw.Connection, size: int | None) -> None:
        """Note the present content; `size` is the file's, if it has a path."""
        self._page_size: int = connection.execute("PRAGMA page_size").get
        self._frame_bytes = _FRAME_HEADER_BYTES + self._page_size
        self._size = size or 0
        self._log_header = b""
        self._last_frame = b""
        self._last_frame_at = 0
        self._logs = 0
        self.frames = 0
        """Of the log, when its last frame was noted."""
        self._first_page = b""
        self._first_page_state = (0, (0, 0))
        self._note_log(connection)
        self._note_first_page(connection, self._read(connection, _FILE, 0, self._page_size))

    def is_as_noted(self, connection: apsw.Connection) -> bool:
        """Tell whether file and log begin as noted, and hold the last commit."""
        read, frame = connection.read, self._last_frame
        try:
            is_log_as_noted = read("main", _LOG, 0, _LOG_HEADER_BYTES)[1] == self._log_header and (
                not frame or read("main", _LOG, self._last_frame_at, _FRAME_HEADER_BYTES)[1] == frame
            )
        except apsw.SQLError:
            return False  # `finding` reads it again, and raises what the caller is to see
        return is_log_as_noted and self.is_file_as_noted(connection, None)

    def is_file_as_noted(self, connection: apsw.Connection, size: int | None) -> bool:
        """Tell whether the file begins as noted; `size` is the file's, if it has a path."""
        if size is not None and size != self._size:
            return False
        try:
            return self._first_page.startswith(connection.read("main", _FILE, 0, _FILE_HEADER_BYTES)[1])
        except apsw.SQLError:
            return False

    def note_commit(self, connection: apsw.Connection) -> bool:
        """Note the log's last frame after a commit; `False`, for `finding` to say why, if it has not just grown."""
        # What `is_as_noted` and `_note_last_frame` do, without their calls: the processor's caches are cold after the
        # wait for the disk, so that each call takes four times as long as in a loop by itself.
        read, header, frame = connection.read, self._log_header, self._last_frame
        try:
            if (
                not frame
                or read("main", _LOG, 0, _LOG_HEADER_BYTES)[1] != header
                or read("main", _LOG, self._last_frame_at, _FRAME_HEADER_BYTES)[1] != frame
            ):
                return False
            frames = connection.wal_checkpoint(mode=_NO_CHECKPOINT)[0]
            position = _LOG_HEADER_BYTES + (frames - 1) * self._frame_bytes
            frame = read("main", _LOG, position, _FRAME_HEADER_BYTES)[1] if frames > 0 else b""
        except apsw.Error:
            return False
        if frame[_FRAME_SALTS] != header[_LOG_SALTS]:
            return False
        self.frames, self._last_frame, self._last_frame_at = frames, frame, position
        return True

    def _note_last_frame(self, connection: apsw.Connection, header: bytes) -> bool:
        """Note the last frame of the log that begins with this header; `False` if it belongs to another log."""
        noted = self._log_header
        try:
            self.frames = frames = connection.wal_checkpoint(mode=_NO_CHECKPOINT)[0]
            position = _LOG_HEADER_BYTES + (frames - 1) * self._frame_bytes
            frame = b"" if frames <= 0 else connection.read("main", _LOG, position, _FRAME_HEADER_BYTES)[1]
        except apsw.BusyError:
            return header == noted
        except apsw.SQLError as error:
            raise _failed_read() from error
        if frame[_FRAME_SALTS] != (header[_LOG_SALTS] if frame else b""):
            return False
        self._logs += header != noted or bool(self._last_frame and not frame)
        self._log_header = header
        self._last_frame, self._last_frame_at = frame, position
        return True

    def finding(self, connection: apsw.Connection, size: int | None) -> str | None:
        """Return what is wrong, else note the present content; `size` is the file's, if it has a path."""
        if not self._note_log(connection) and not self._is_log_whole(connection):
            return "its log was cut or overwritten by something else than SQLite"
        if size is not None and size != self._size:
            if size == 0 or (size < self._size and not self._is_file_whole(connection, size)):
                return "the file was cut by something else than SQLite"
            self._size = size
        if not self._first_page.startswith(self._read(connection, _FILE, 0, _FILE_HEADER_BYTES)):
            if not self._is_first_page_ours(connection):
                return "the file was overwritten by something else than SQLite"
        else:
            # So far no checkpoint has changed it: the next one takes it from this log.
            self._first_page_state = (self._logs, self._first_page_state[1])
        return None

    def _is_log_whole(self, connection: apsw.Connection) -> bool:
        return any(self._note_log(connection) for _ in self._attempts())

    def _note_log(self, connection: apsw.Connection) -> bool:
        """Note the log's header and last frame; tell whether the log continues the noted one, or was reset."""
        header = self._read(connection, _LOG, 0, _LOG_HEADER_BYTES)
        frame = self._last_frame
        # A log that begins anew has another header. In one that goes on, nothing committed ever changes.
        goes_on = header == self._log_header and frame
        if goes_on and self._read(connection, _LOG, self._last_frame_at, _FRAME_HEADER_BYTES) != frame:
            return False
        return self._note_last_frame(connection, header)

    def _is_file_whole(self, connection: apsw.Connection, size: int) -> bool:
        """Tell whether a file that has shrunk, as after a VACUUM, has all pages that are not in the log."""
        for attempt in self._attempts():
            if attempt and not self._is_log_whole(connection):
                return False
            pages: int = connection.execute("PRAGMA page_count").get
            missing = set(range(size // self._page_size + 1, pages + 1))
            if missing <= {number for number, _ in self._frames(connection)}:
                return True
        return False

    def _is_first_page_ours(self, connection: apsw.Connection) -> bool:
        """Tell whether the first page is the noted one, or one that a checkpoint has copied from the log."""
        for attempt in self._attempts():
            if attempt and not self._is_log_whole(connection):
                return False
            page = self._read(connection, _FILE, 0, self._page_size)
            if page == self._first_page:
                return True
            if self._is_from_a_checkpoint(connection, page):
                self._note_first_page(connection, page)
                return True
        return False

    def _note_first_page(self, connection: apsw.Connection, page: bytes) -> None:
        self._first_page, self._first_page_state = page, self._state(connection)

    def _is_from_a_checkpoint(self, connection: apsw.Connection, page: bytes) -> bool:
        logs, version = self._state(connection)
        if self._last_frame and logs == self._first_page_state[0]:
            return self._is_in_log(connection, page)
        # The log that it came from is gone. If there was none, this is not SQLite's work.
        is_ours = int.from_bytes(page[_APPLICATION_ID]) == APPLICATION_ID
        return is_ours and (logs, version) != self._first_page_state

    def _state(self, connection: apsw.Connection) -> tuple[int, tuple[int, int]]:
        """Return the identity of the log, and a value that changes when another connection commits."""
        version: int = connection.execute("PRAGMA data_version").get
        return self._logs, (id(connection), version)

    def _is_in_log(self, connection: apsw.Connection, page: bytes) -> bool:
        # A checksum is written at the end of the page, and only in the file.
        size = self._page_size - page[_RESERVED_BYTES_AT]
        return any(
            number == 1 and self._read(connection, _LOG, position, size) == page[:size]
            for number, position in self._frames(connection)
        )

    def _frames(self, connection: apsw.Connection) -> Iterator[tuple[int, int]]:
        """Yield the number and the position of each page in the log, the last one first."""
        position = self._last_frame_at if self._last_frame else 0
        while position >= _LOG_HEADER_BYTES:
            yield int.from_bytes(self._read(connection, _LOG, position, 4)), position + _FRAME_HEADER_BYTES
            position -= self._frame_bytes

    @staticmethod
    def _attempts() -> Iterator[int]:
        for attempt in range(_ATTEMPTS):
            if attempt:
                time.sleep(_PAUSE_SECONDS)
            yield attempt

    @staticmethod
    def _read(connection: apsw.Connection, which: int, position: int, amount: int) -> bytes:
        """Read bytes; zeros beyond the end of the file."""
        try:
            _, data = connection.read("main", which, position, amount)
        except apsw.SQLError as error:
            raise _failed_read() from error
        return data


def _failed_read() -> Exception:
    """Return the error for a failed disk read, which the driver reports only as "SQL error"."""
    return apsw.exception_for(apsw.SQLITE_IOERR_READ)
