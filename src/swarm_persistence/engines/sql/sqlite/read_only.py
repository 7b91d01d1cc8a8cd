"""Opens a database read-only: no byte of the file, its log or its journal changes, and no file is created."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import apsw

from swarm_persistence.engines.sql.sqlite.raw_file import companions, copy_bytes, size_of

_LAST_PAGES_BYTES = 128 * 1024
_WITHOUT_LOCKS = "win32-none" if os.name == "nt" else "unix-none"


@contextmanager
def opened_read_only(path: Path, busy_milliseconds: int, *, with_log: bool = True) -> Iterator[apsw.Connection]:
    """Yield a connection that reads the file, with or without its log or journal.

    Beside other connections, it is one more reader; its snapshot is that of its first statement.
    """
    log, index, journal = companions(path)
    if not with_log:
        manner = "immutable=1"
    elif size_of(journal) and _is_hot(path, busy_milliseconds):
        with rolled_back(path, journal) as copy, opened_read_only(copy, busy_milliseconds) as connection:
            yield connection
        return
    elif size_of(journal):
        manner = "mode=ro"
    elif not size_of(log):
        manner = "mode=ro" if index.exists() and log.exists() else "immutable=1"
    elif index.exists():
        manner = "mode=ro"
    else:
        # No index of the log, so no process has it open: SQLite makes one in its own memory.
        manner = f"mode=ro&vfs={_WITHOUT_LOCKS}"
    with _opened(f"{path.resolve().as_uri()}?{manner}", apsw.SQLITE_OPEN_READONLY, busy_milliseconds) as connection:
        if _WITHOUT_LOCKS in manner:
            connection.pragma("locking_mode", "exclusive")
        yield connection


@contextmanager
def _opened(uri: str, flags: int, busy_milliseconds: int) -> Iterator[apsw.Connection]:
    connection = apsw.Connection(uri, flags=flags | apsw.SQLITE_OPEN_URI)
    try:
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        connection.set_busy_timeout(busy_milliseconds)
        yield connection
    finally:
        connection.close()


def _is_hot(path: Path, busy_milliseconds: int) -> bool:
    """Tell whether the journal is hot: SQLite must roll an interrupted write back before it reads."""
    uri = f"{path.resolve().as_uri()}?mode=ro"
    with _opened(uri, apsw.SQLITE_OPEN_READONLY, busy_milliseconds) as connection:
        try:
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()
        except apsw.Error:
            return True
    return False


@contextmanager
def rolled_back(path: Path, journal: Path) -> Iterator[Path]:
    """Yield the path of a copy in which SQLite has rolled the journal back."""
    with TemporaryDirectory() as directory:
        copy = Path(directory) / "copy.db"
        copy_bytes(path.resolve(), copy)
        copy_bytes(journal, copy.with_name(f"{copy.name}-journal"))
        with _opened(copy.as_uri(), apsw.SQLITE_OPEN_READWRITE, 0) as connection, suppress(apsw.Error):
            # Rolls it back before it reads the content, which may be damaged.
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()
        if hasattr(os, "SEEK_DATA"):
            _cut_hole_at_end(copy)
        yield copy


def _cut_hole_at_end(file: Path) -> None:
    """Truncate pages that were never written: a damaged journal may claim billions of them."""
    with file.open("r+b") as opened:
        parts = list(_parts_with_data(opened.fileno()))
        while parts:
            start, end = parts[-1]
            opened.seek(start)
            if end - start > _LAST_PAGES_BYTES or any(opened.read(end - start)):
                break
            parts.pop()  # SQLite writes the last page of a file that it lengthens, all zeros
        opened.truncate(parts[-1][1] if parts else 0)


def _parts_with_data(descriptor: int) -> Iterator[tuple[int, int]]:
    end = 0
    with suppress(OSError):  # there is no data after this offset
        while True:
            start = os.lseek(descriptor, end, os.SEEK_DATA)
            end = os.lseek(descriptor, start, os.SEEK_HOLE)
            yield start, end
