"""Copies a database page by page, as of one moment, while writers go on, and checks the copy; restores a copy."""

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, closing

import apsw

from swarm_persistence.engines.partial_files import PartialFile, partial_file
from swarm_persistence.engines.sql.sqlite import checksums
from swarm_persistence.engines.sql.sqlite.failures import translated
from swarm_persistence.engines.sql.sqlite.offline import (
    check_pages,
    check_rows,
    opened_offline,
    require_ours,
    row_counts,
)
from swarm_persistence.engines.sql.sqlite.publishing import publish, require_free
from swarm_persistence.engines.sql.sqlite.settings import SqliteSettings
from swarm_persistence.engines.stepping import Steps

_PAGES_A_STEP = 1024
"""4 MB, synced before the next ones are copied, so that concurrent writers are delayed by at most 20 ms."""
_CACHE_KIBIBYTES = 4096


def back_up(
    source: Callable[[], AbstractContextManager[apsw.Connection]],
    path: str,
    settings: SqliteSettings,
    target: str,
    stop: threading.Event,
    *,
    is_verified: bool,
    is_overwriting: bool,
) -> Steps[None]:
    """Copy the database at a path, which `source` opens, to a new file, and report the progress in bytes.

    Its reads block no writer, but the log cannot be reset until all pages are copied.

    Raises:
        OtherError: the target exists, and is not to be overwritten, or is the database.
        DatabaseError: the target cannot be written, or the copy does not pass its check; there is no target then.

    """
    vfs, timeout = settings.vfs, settings.connection_timeout
    with translated(path, target, timeout):
        require_free(target, is_overwriting=is_overwriting, source=path)
        with partial_file(target) as partial:
            with source() as connection:
                connection.execute("BEGIN").fetchall()
                require_ours(connection, path)  # the snapshot is taken by the first read
                counts = row_counts(connection) if is_verified else None
                yield from copy_pages(connection, partial, vfs)
            with opened_offline(partial.path, vfs) as copy:
                check_pages(copy, path, stop, is_thorough=is_verified)
                if counts is not None:
                    check_rows(copy, path, counts, stop)
            publish(partial, is_overwriting=is_overwriting, keeps_numbers=False, vfs=vfs)


def copy_pages(source: apsw.Connection, partial: PartialFile, vfs: str | None) -> Steps[None]:
    """Copy what a connection's open transaction sees, page by page, and report the progress in bytes."""
    page_size: int = source.execute("PRAGMA page_size").get
    flags = apsw.SQLITE_OPEN_READWRITE
    keeps_checksums = checksums.are_kept(source)
    if keeps_checksums:
        vfs = vfs or checksums.load_vfs()
    with closing(apsw.Connection(partial.path, flags=flags, vfs=vfs)) as target:
        for pragma in (
            "locking_mode = EXCLUSIVE",
            "journal_mode = OFF",  # an unfinished copy is discarded
            "synchronous = FULL",
            f"cache_size = -{_CACHE_KIBIBYTES}",
        ):
            target.execute(f"PRAGMA {pragma}").fetchall()
        if keeps_checksums:
            # The VFS decides by the first page, which may be written last.
            checksums.reserve(target)
            target.execute("CREATE TABLE overwritten (x)").fetchall()
        with target.backup("main", source, "main") as copy:
            while not copy.done:
                copy.step(_PAGES_A_STEP)
                partial.sync_data()
                yield (copy.page_count - copy.remaining) * page_size, copy.page_count * page_size


def restore_pages(
    backup: str, target: str, stop: threading.Event, *, is_overwriting: bool, vfs: str | None = None
) -> Steps[None]:
    """Copy a backup to the path of a database, and report the progress in bytes.

    All numbers are those of the backup. Numbers that an overwritten database assigned after it are not assigned again.

    Raises:
        OtherError: the target exists, and is not to be overwritten, or is the backup.
        DatabaseError: the backup is damaged, or is not a database of this package; or the target is open in any
            process, is another program's database, or cannot be written. It was left as it was.

    """
    with translated(backup, target, 0):
        require_free(target, is_overwriting=is_overwriting, source=backup)
        with partial_file(target) as partial:
            with opened_offline(backup, vfs) as source:
                check_pages(source, backup, stop, is_thorough=True)
                yield from copy_pages(source, partial, vfs)
            publish(partial, is_overwriting=is_overwriting, keeps_numbers=True, vfs=vfs)
