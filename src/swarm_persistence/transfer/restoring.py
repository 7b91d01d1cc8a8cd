"""Restores a backup, a database file or a file of JSON lines, with its sequences."""

import os
import sys
from collections.abc import Awaitable, Callable
from functools import partial

from swarm_persistence.backends.targets import init_storage, sqlite_path
from swarm_persistence.engines.interface import Progress
from swarm_persistence.engines.lines import check_lines, read_lines
from swarm_persistence.engines.partial_files import partial_file
from swarm_persistence.engines.stepping import run_beside, run_in_steps
from swarm_persistence.errors import OtherError, shown
from swarm_persistence.storage import Storage
from swarm_persistence.storage.backups import restore_records, source_path, target_path

LONGEST_SECONDS = 7 * 86400.0
"""The timeout of a restore, which is one transaction."""


async def restore(
    backup: str | os.PathLike[str],
    target: str | os.PathLike[str] | Storage,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> None:
    """Restore a backup atomically; events, messages and metrics keep their sequences.

    The target is the path of an SQLite database, which no process may have open, the URL of a PostgreSQL schema, or an
    open storage. A backup of SQLite can be restored to a path only. The sequences of an overwritten target continue:
    no number that a watcher has seen is assigned again.

    Raises:
        OtherError: the target is not empty, and `overwrite` is not set; or the file is not a backup, or is of a kind
            that the target cannot take.
        DatabaseError: the backup is damaged, the target is open, or another program's database, or cannot be written.
        SerializationError: a line of the backup cannot be read; the text names it.

    """
    source = source_path(backup)
    if await run_beside(lambda: _is_database(source)):
        path = path_of(target)
        if path is None:
            raise OtherError(
                f"{source!r} is a backup of SQLite, which goes to the path of a file; restore it there, and copy that"
            )
        from swarm_persistence.engines.sql.sqlite.backup import restore_pages

        await run_in_steps(lambda stop: restore_pages(source, path, stop, is_overwriting=overwrite), progress)
        return
    header = await run_beside(partial(check_lines, source, source, is_thorough=True))
    total = sum((header.counts or {}).values())

    def tell(done: int) -> None:
        if progress is not None:
            progress(done, max(total, done))

    async def fill(storage: Storage) -> None:
        lines = read_lines(source, source)
        await restore_records(storage, lines, header, is_overwriting=overwrite, progress=tell)

    await fill_target(target, fill, is_overwriting=overwrite)


async def fill_target(
    target: str | os.PathLike[str] | Storage,
    fill: Callable[[Storage], Awaitable[None]],
    *,
    is_overwriting: bool = False,
    takes_existing_file: bool = False,
) -> None:
    """Open the storage that a target names, unless it is open, and let a function fill it in one transaction.

    A new file appears once it is filled. One that exists is refused, replaced or, with `takes_existing_file`, opened.
    """
    if isinstance(target, Storage):
        await fill(target)
        return
    path = path_of(target)
    if path is None:
        url = os.fspath(target)
        if url.partition("://")[0] not in ("postgresql", "postgres"):
            await init_storage(url)  # the original error says more
            raise OtherError(f"{url!r} cannot be filled by its name; open it, and give the open storage")
        from swarm_persistence.backends.postgres import PostgresStorage

        async with await PostgresStorage.builder().transaction_timeout(LONGEST_SECONDS).build(url) as server:
            await fill(server)
        return
    from swarm_persistence.backends.sqlite import SqliteStorage
    from swarm_persistence.engines.sql.sqlite.publishing import publish, require_free

    builder = SqliteStorage.builder().transaction_timeout(LONGEST_SECONDS)
    if takes_existing_file and await run_beside(partial(os.path.lexists, path)):
        async with await builder.build(path) as storage:
            await fill(storage)
        return
    await run_beside(partial(require_free, path, is_overwriting=is_overwriting))
    with partial_file(path) as file:
        async with await builder.build(file.path) as storage:
            await fill(storage)
        await run_beside(partial(publish, file, is_overwriting=is_overwriting, keeps_numbers=True, vfs=None))


def _is_database(path: str) -> bool:
    if not os.path.isfile(path):
        raise OtherError(f"there is no file {path!r}")
    if sys.platform == "emscripten":
        return False  # which has no SQLite
    from swarm_persistence.engines.sql.sqlite.offline import is_database

    return is_database(path)


def path_of(target: str | os.PathLike[str] | Storage) -> str | None:
    """Return the path of the file that a target names; `None` if it is something else."""
    if isinstance(target, Storage):
        return None
    if not isinstance(target, str | os.PathLike):
        raise OtherError(f"target is {shown(target)}, expected a path, a URL or an open storage")
    name = os.fspath(target)
    if not isinstance(name, str):
        raise OtherError(f"target is {shown(name)}, expected a path of str")
    scheme, separator, _ = name.partition("://")
    return target_path(sqlite_path(name)) if not separator or scheme == "sqlite" else None
