"""Page checksums: SQLite's own checksum VFS (cksumvfs), which apsw ships as a loadable extension.

A file that keeps them says so in its header: 8 bytes of each page are reserved. Connections that use the VFS write them
with every page of the file, which a checkpoint does, and verify them with every page read; `open_connection` picks the
VFS by the header. A checkpoint by a connection without it leaves pages whose checksums are wrong.
https://sqlite.org/cksumvfs.html
"""

import ctypes
import threading
from pathlib import Path

import apsw
import apsw.sqlite_extra

from swarm_persistence.engines.sql.sqlite.raw_file import RawFile, page_size_of
from swarm_persistence.errors import OtherError

VFS = "cksmvfs"

_RESERVED_BYTES = 8
# https://sqlite.org/fileformat.html#the_database_header
_RESERVED_BYTES_AT = 20
_HEADER_BYTES = 100
_lock = threading.Lock()


def load_vfs() -> str:
    """Register the VFS once a process, beside the default one, and return its name.

    Raises:
        OtherError: this apsw was built without its extras.

    """
    with _lock:
        names = apsw.vfs_names()
        if VFS not in names:
            connection = apsw.Connection(":memory:")
            try:
                apsw.sqlite_extra.load(connection, "cksumvfs")
            except (apsw.sqlite_extra.NotAvailable, LookupError, FileNotFoundError) as error:
                raise OtherError(
                    f"checksums need the extension cksumvfs, which this apsw lacks ({error}); "
                    "install apsw from its wheel: pip install --only-binary apsw apsw"
                ) from error
            finally:
                connection.close()
            # The extension makes itself the default, also for connections of other programs' code in this process.
            apsw.set_default_vfs(names[0])
    return VFS


def are_kept(connection: apsw.Connection) -> bool:
    """Tell whether the connection's file keeps checksums; reads its header."""
    connection.execute("PRAGMA schema_version").fetchall()  # only then does SQLite know the header
    return _control(connection, -1) == _RESERVED_BYTES


def vfs_for(path: str) -> str | None:
    """Return the name of the VFS that a file needs by its header: `None` if it keeps no checksums."""
    with RawFile(Path(path)) as file:
        return load_vfs() if file.read(_RESERVED_BYTES_AT, 1) == bytes((_RESERVED_BYTES,)) else None


def require_new(connection: apsw.Connection) -> None:
    """Raise `OtherError` if the file has pages already, so that opening cannot enable checksums."""
    if connection.execute("PRAGMA page_count").fetchall() != [(0,)]:
        raise OtherError(
            f"{connection.filename!r} keeps no checksums; add them with `swarm-persistence checksums DATABASE`, "
            "or open it without checksums=True"
        )


def reserve(connection: apsw.Connection) -> None:
    """Reserve space for checksums: effective from the first page on, or after the next VACUUM."""
    _control(connection, _RESERVED_BYTES)


def damaged_pages(path: Path) -> list[int] | None:
    """Return the numbers of the pages whose checksum is wrong; `None` if the file keeps none. Leaves out its log."""
    with RawFile(path) as file:
        if file.read(_RESERVED_BYTES_AT, 1) != bytes((_RESERVED_BYTES,)):
            return None
    page_size = page_size_of(path)
    with RawFile(path, load_vfs()) as file:
        file.read(0, _HEADER_BYTES)  # lets the VFS know that there are checksums
        return [
            number
            for number, offset in enumerate(range(0, file.size - page_size + 1, page_size), 1)
            # Twice: a process may have been writing the page just then.
            if _is_wrong(file, offset, page_size) and _is_wrong(file, offset, page_size)
        ]


def add(path: str) -> None:
    """Rewrite a file that no other connection has open, so that it keeps checksums.

    This is one transaction: a crash leaves the file as it was. If the file keeps checksums already, all pages get new
    ones, even pages whose checksum is wrong, as after a checkpoint by another program.

    Raises:
        apsw.BusyError: a process has the file open.
        OtherError: this apsw was built without its extras.

    """
    connection = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READWRITE, vfs=load_vfs())
    try:
        # Set this before the first read: then SQLite locks out every other connection, also idle ones.
        for pragma in ("locking_mode = EXCLUSIVE", "checksum_verification = OFF", "synchronous = FULL"):
            connection.execute(f"PRAGMA {pragma}").fetchall()
        reserve(connection)
        connection.execute("VACUUM").fetchall()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    finally:
        connection.close()


def _is_wrong(file: RawFile, offset: int, page_size: int) -> bool:
    try:
        file.read(offset, page_size)
    except apsw.IOError as error:
        if getattr(error, "extendedresult", None) != apsw.SQLITE_IOERR_DATA:
            raise
        return True
    return False


def _control(connection: apsw.Connection, number: int) -> int:
    reserved = ctypes.c_int(number)
    connection.file_control("main", apsw.SQLITE_FCNTL_RESERVE_BYTES, ctypes.addressof(reserved))
    return reserved.value
