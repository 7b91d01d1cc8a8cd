"""Backs up an SQLite database without opening it as a storage, which would migrate its schema."""

import os
from contextlib import AbstractContextManager, closing

import apsw

from swarm_persistence.engines.interface import Progress
from swarm_persistence.engines.sql.sqlite.access import Access, is_writable, reading_access
from swarm_persistence.engines.sql.sqlite.backup import back_up
from swarm_persistence.engines.sql.sqlite.connection import BusyHandler, open_connection
from swarm_persistence.engines.sql.sqlite.settings import SqliteSettings
from swarm_persistence.engines.stepping import run_in_steps
from swarm_persistence.storage.backups import source_path, target_path


async def back_up_file(
    path: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    verify: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> None:
    """Back up a database file as `Storage.backup` does."""
    source, copy, settings = source_path(path), target_path(target), SqliteSettings()

    def opened() -> AbstractContextManager[apsw.Connection]:
        access = Access.WRITE if is_writable(source) else reading_access(source)
        busy_handler = BusyHandler(settings.connection_timeout)
        return closing(open_connection(source, settings, busy_handler, is_reader=True, access=access))

    await run_in_steps(
        lambda stop: back_up(opened, source, settings, copy, stop, is_verified=verify, is_overwriting=overwrite),
        progress,
    )
