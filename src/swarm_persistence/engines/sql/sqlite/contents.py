"""Verifies that what was committed stands in the file and its log: that nothing but SQLite has cut or overwritten them.

All is read through SQLite's own descriptors.
"""

import time
from collections.abc import Iterator

import apsw

from swarm_persistence.engines.sql.sqlite.schema_version import APPLICATION_ID

_FILE, _LOG = 0, 1
_NO_CHECKPOINT = -1
"""SQLITE_CHECKPOINT_NOOP: only tell how many frames the log has."""
_FILE_HEADER_BYTES = 100
_LOG_HEADER_BYTES = 32
_FRAME_HEADER_BYTES = 24
_RESERVED_BYTES_AT = 20
_APPLICATION_ID = slice(68, 72)
_LOG_SALTS = slice(16, 24)
_FRAME_SALTS = slice(8, 16)
_ATTEMPTS = 10
"""How often a difference is verified: another process may be in the middle of a checkpoint or of a new log."""
_PAUSE_SECONDS = 0.002


class Contents:
    """What the last verification found, and the next must find again; of the writer's thread."""

    def __init__(self) -> None:
        self._page_size = 0
        self._log_header = b""
        self._last_frame = b""
        self._last_frame_at = 0
        self._logs = 0
        self._first_page = b""
        self._first_page_state = (0, (0, 0))
        self._size = 0

    def record(self, connection: apsw.Connection, size: int | None) -> None:
        """Note what stands there; `size` is the file's, if it has a path."""
        self._page_size = connection.execute("PRAGMA page_size").get
        if size is not None:
            self._size = size
        self._note_log(connection)
        self._note_first_page(connection, self._read(connection, _FILE, 0, self._page_size))

    def is_as_noted(self, connection: apsw.Connection) -> bool:
        """Tell whether file and log begin as they did, and what was committed last stands there."""
        frame = self._last_frame
        return (
            self._read(connection, _LOG, 0, _LOG_HEADER_BYTES) == self._log_header
            and (not frame or self._read(connection, _LOG, self._last_frame_at, _FRAME_HEADER_BYTES) == frame)
            and self._first_page.startswith(self._read(connection, _FILE, 0, _FILE_HEADER_BYTES))
        )

    def finding(self, connection: apsw.Connection, size: int | None) -> str | None:
        """Return what is wrong, or note what stands there now; `size` is the file's, if it has a path."""
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
        """Note the log's header and last frame; tell whether the log goes on from what was noted, or began anew."""
        header = self._read(connection, _LOG, 0, _LOG_HEADER_BYTES)
        frame = self._last_frame
        # A log that begins anew has another header. In one that goes on, nothing committed ever changes.
        goes_on = header == self._log_header and frame
        if goes_on and self._read(connection, _LOG, self._last_frame_at, _FRAME_HEADER_BYTES) != frame:
            return False
        try:
            frames, _ = connection.wal_checkpoint(mode=_NO_CHECKPOINT)
        except apsw.BusyError:
            return header == self._log_header
        position = _LOG_HEADER_BYTES + (frames - 1) * (_FRAME_HEADER_BYTES + self._page_size)
        frame = b"" if frames <= 0 else self._read(connection, _LOG, position, _FRAME_HEADER_BYTES)
        if frame[_FRAME_SALTS] != (header[_LOG_SALTS] if frame else b""):
            return False
        self._logs += header != self._log_header or bool(self._last_frame and not frame)
        self._log_header, self._last_frame, self._last_frame_at = header, frame, position
        return True

    def _is_file_whole(self, connection: apsw.Connection, size: int) -> bool:
        """Tell whether a file that has become smaller, as after a VACUUM, has all pages that are not in the log."""
        for attempt in self._attempts():
            if attempt and not self._is_log_whole(connection):
                return False
            pages: int = connection.execute("PRAGMA page_count").get
            missing = set(range(size // self._page_size + 1, pages + 1))
            if missing <= {number for number, _ in self._frames(connection)}:
                return True
        return False

    def _is_first_page_ours(self, connection: apsw.Connection) -> bool:
        """Tell whether the first page is the one that was there, or one that a checkpoint has taken from the log."""
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
        """Return which log this is, and what changes when another connection commits."""
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
        """Yield the number of each page in the log, and where it stands there; the last one first."""
        position = self._last_frame_at if self._last_frame else 0
        while position >= _LOG_HEADER_BYTES:
            yield int.from_bytes(self._read(connection, _LOG, position, 4)), position + _FRAME_HEADER_BYTES
            position -= _FRAME_HEADER_BYTES + self._page_size

    @staticmethod
    def _attempts() -> Iterator[int]:
        for attempt in range(_ATTEMPTS):
            if attempt:
                time.sleep(_PAUSE_SECONDS)
            yield attempt

    @staticmethod
    def _read(connection: apsw.Connection, which: int, position: int, amount: int) -> bytes:
        """Read bytes; beyond the end stand zeros."""
        try:
            _, data = connection.read("main", which, position, amount)
        except apsw.SQLError as error:  # all that the driver says of a failing disk
            raise apsw.exception_for(apsw.SQLITE_IOERR_READ) from error
        return data
