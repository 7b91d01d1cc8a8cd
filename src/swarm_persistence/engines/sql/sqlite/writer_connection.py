"""The writing connection, which verifies around each commit that it writes to the file at its path.

SQLite holds descriptors: after a file was deleted, moved or replaced, it goes on writing to a file that no path leads
to, and reports success. Other programs may also truncate or overwrite what was committed. The contents are read through
SQLite's own descriptors, and nothing here opens a file: closing any descriptor of it would drop this process's locks.
No link is followed: the paths are resolved, and a later opening would look for the log beside the link's target.
"""

import ctypes
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from struct import Struct
from typing import Any, NamedTuple

import apsw

from swarm_persistence.engines.sql.sqlite.connection import BusyHandler, LockWait
from swarm_persistence.engines.sql.sqlite.failures import has_spoiled_connection, is_open_outcome, unknown_outcome
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
_LONGEST_TRUST_SECONDS = 0.001
"""How long a commit relies on the verification of the one before. Damage within that time is found after the commit, as
damage during a commit is. Verifying before each commit as well took 4 % of the time of a caller's single inserts."""
_LONGEST_TRUST_OF_READS_SECONDS = 0.005
"""How long reads rely on the last verification: another one would add a third to the time of a point read."""

_REMEDY = "stop the programs that use it, put the file and its log back in place, and open the storage again"
_PARTS = {"": "the file", "-wal": "its log", "-shm": "the index of its log"}

# The layout of struct statx: https://man7.org/linux/man-pages/man2/statx.2.html
_AT_FDCWD = -100
_AT_SYMLINK_NOFOLLOW = 0x100
_STATX_INO_AND_SIZE = 0x100 | 0x200
_BUFFER_BYTES = 256
_INODE_SIZE_DEVICE = Struct("=32xQQ88xQ")

PathStatus = tuple[int, int, int]
"""Inode, size and device of the file at a path. Devices are equal for paths on one file system, but are not the
operating system's device numbers."""


class WriterConnection:
    """Begins and ends transactions; used by the writer's thread, or by a session that holds the write lock."""

    def __init__(
        self,
        open_connection: Callable[[bool], apsw.Connection],
        identity: "FileIdentity",
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
        self._confirmed_at = float("-inf")
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
        if contents is None or self._identity.is_wrong or not (is_trusted or contents.is_as_noted(self.connection)):
            self.verify(self.connection)
        if self._reserve is not None:
            self._reserve(self.connection)

    def confirm(self) -> None:
        """Verify that the commit is in the file at its path: only then is it acknowledged.

        Raises:
            OutcomeUnknownError: it is not, or that could not be verified.

        """
        contents = self._contents
        try:
            size = self._identity.verify_paths()
            if contents is not None and not (
                contents.is_as_noted(self.connection, size) and contents.note_last_frame(self.connection)
            ):
                self.verify(self.connection)
            self._confirmed_at = time.monotonic()
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


class _KnownPath(NamedTuple):
    """A path, and the file that was opened there."""

    path: str
    status: Callable[[], PathStatus]
    inode: int
    device: int


class FileIdentity:
    """The inodes of the opened files, compared with those at their paths; while they differ, every call is refused."""

    def __init__(self, path: str, *, is_virtual: bool) -> None:
        """Take the path as the caller gave it; a virtual file system may keep files without paths."""
        self._path = path
        self._is_virtual = is_virtual
        self._known: list[_KnownPath] = []
        self._known_without_index: list[_KnownPath] = []
        self._parts: dict[str, str] = {}
        self._verified_at = 0.0
        self.is_wrong = False
        """Whether the last verification has found a difference."""
        self._damage = ""

    def record(self, connection: apsw.Connection) -> int | None:
        """Record the files that the writer's first connection has opened; return the file's size, if it has a path."""
        name = connection.filename
        self._parts = {self._path: "the file"}
        if not connection.readonly("main"):
            self._parts.update({f"{name}{suffix}": part for suffix, part in _PARTS.items()})
        for path in self._parts:
            status = path_status(path)
            try:
                inode, _, device = status()
            except FileNotFoundError:
                if self._is_virtual:
                    continue
                raise self._difference(path) from None
            self._known.append(_KnownPath(path, status, inode, device))
        # What another process commits by an index of its own shows in the log.
        self._known_without_index = [known for known in self._known if known.path != f"{name}-shm"]
        return self.verify_paths()

    def verify_paths(self) -> int | None:
        """Verify the files at the paths, in any thread; return the file's size, if it has a path.

        Raises:
            DatabaseError: they differ, or did before; the message says what to do.

        """
        if self._damage:
            raise DatabaseError(self._damage)
        size: int | None = None
        path = self._path
        now = time.monotonic()
        is_trusted = not self.is_wrong and now - self._verified_at < _LONGEST_TRUST_OF_READS_SECONDS
        try:
            for path, status, inode, device in self._known_without_index if is_trusted else self._known:
                found_inode, found_size, found_device = status()
                if found_inode != inode or found_device != device:
                    raise self._difference(path)
                if size is None:
                    size = found_size
        except OSError:
            raise self._difference(path) from None
        if not is_trusted:
            self.is_wrong = False
            self._verified_at = now
        return size

    def verify_now_and_then(self) -> None:
        """Verify the paths unless they were verified just now; raises as `verify_paths` does."""
        if self.is_wrong or time.monotonic() - self._verified_at > _LONGEST_TRUST_OF_READS_SECONDS:
            self.verify_paths()

    def damaged(self, finding: str) -> DatabaseError:
        """Return the error for damage in the file or its log; every later call is refused with it."""
        self.is_wrong = True
        # Truncated data cannot be recovered, so this is final.
        self._damage = f"{self._path!r}: {finding}, while the storage had it open; {_REMEDY}, or restore a backup"
        return DatabaseError(self._damage)

    def close(self, connection: apsw.Connection) -> None:
        """Close a connection. While files differ, SQLite must neither checkpoint the log nor delete a file."""
        if self.is_wrong and not self._is_only_log_gone():
            connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        connection.close()

    def _is_only_log_gone(self) -> bool:
        """Tell whether only the log's path is missing: then SQLite may still checkpoint its open log."""
        if self._damage:
            return False
        differing = [each for each in self._known if _identity(each.status) != (each.inode, each.device)]
        return all(each.path.endswith("-wal") and _identity(each.status) is None for each in differing)

    def _difference(self, path: str) -> DatabaseError:
        self.is_wrong = True
        directory, part = os.path.dirname(path), self._parts[path]
        if not os.path.isdir(directory):
            event = f"its directory {directory!r} was renamed, moved or deleted"
        elif not os.path.lexists(path):
            event = f"{part} was deleted or moved away"
        elif os.path.islink(path):
            event = f"a symbolic link was put in the place of {part}"
        else:
            event = f"{part} was replaced by another file"
        return DatabaseError(f"{self._path!r}: {event}, while the storage had it open; {_REMEDY}")


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

    def is_as_noted(self, connection: apsw.Connection, size: int | None = None) -> bool:
        """Tell whether file and log begin as noted, and hold the last commit."""
        read, frame = connection.read, self._last_frame
        try:
            return (
                (size is None or size == self._size)
                and read("main", _LOG, 0, _LOG_HEADER_BYTES)[1] == self._log_header
                and (not frame or read("main", _LOG, self._last_frame_at, _FRAME_HEADER_BYTES)[1] == frame)
                and self._first_page.startswith(read("main", _FILE, 0, _FILE_HEADER_BYTES)[1])
            )
        except apsw.SQLError:
            return False  # `finding` reads it again, and raises what the caller is to see

    def note_last_frame(self, connection: apsw.Connection, header: bytes | None = None) -> bool:
        """Note the last frame of the log that begins with this header, by default the noted one.

        `False` if the frame belongs to another log, or, by default, if there is none: that is left to `finding`.
        """
        noted = self._log_header
        try:
            self.frames = frames = connection.wal_checkpoint(mode=_NO_CHECKPOINT)[0]
            position = _LOG_HEADER_BYTES + (frames - 1) * self._frame_bytes
            frame = b"" if frames <= 0 else connection.read("main", _LOG, position, _FRAME_HEADER_BYTES)[1]
        except apsw.BusyError:
            return header is None or header == noted
        except apsw.SQLError as error:
            raise _failed_read() from error
        if header is None:
            if not frame:
                return False
            header = noted
        if frame[_FRAME_SALTS] != (header[_LOG_SALTS] if frame else b""):
            return False
        if header is not noted:
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
        return self.note_last_frame(connection, header)

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


def _identity(status: Callable[[], PathStatus]) -> tuple[int, int] | None:
    with suppress(OSError):
        inode, _, device = status()
        return inode, device
    return None


def path_status(path: str) -> Callable[[], PathStatus]:
    """Return a function that reads the status of a path at each call; it raises `OSError` as `os.lstat` does.

    A symbolic link is not followed.
    """
    if _statx is None:
        return lambda: _by_lstat(path)
    statx, encoded, buffer = _statx, os.fsencode(path), bytearray(_BUFFER_BYTES)
    # Converted once: to convert them at each call takes as long as the call itself. One buffer does for all threads, as
    # the call holds the interpreter lock: at most, a thread reads what another one has just found at the same path.
    arguments = (
        ctypes.c_int(_AT_FDCWD),
        ctypes.c_char_p(encoded),
        ctypes.c_int(_AT_SYMLINK_NOFOLLOW),
        ctypes.c_uint(_STATX_INO_AND_SIZE),
        (ctypes.c_char * _BUFFER_BYTES).from_buffer(buffer),
    )
    unpack = _INODE_SIZE_DEVICE.unpack_from

    def by_statx() -> PathStatus:
        if statx(*arguments):
            return _by_lstat(path)  # let it raise; or an old kernel, or a sandbox, lacks the call
        return unpack(buffer)

    return by_statx


def _by_lstat(path: str) -> PathStatus:
    found = os.lstat(path)
    return found.st_ino, found.st_size, found.st_dev


def _find_statx() -> Any:
    """Return the system's function that reads inode, size and device of a path without its times, if any.

    Since Linux 6.13, a file whose times were read gets new ones with its next write, which fdatasync then writes to the
    journal: one `lstat` per commit made a caller's single commits take half as long again.
    """
    try:
        return ctypes.PyDLL(None).statx
    except (AttributeError, OSError, TypeError):
        return None  # another system, or a C library that lacks it


_statx = _find_statx()
