"""Resolves the name of a database; refuses a missing one, which a command that only reads must not create."""

import argparse
import os
from pathlib import Path

from swarm_persistence.backends.targets import DATABASE_VARIABLE, DEFAULT_PATH, init_storage, sqlite_path, sqlite_target
from swarm_persistence.cli.failure import CommandError
from swarm_persistence.engines.sql.postgres.url import SCHEMES
from swarm_persistence.engines.sql.postgres.url import shown as shown_url
from swarm_persistence.storage import Storage


def is_url(target: str) -> bool:
    """Tell whether a target is a URL, but not that of an SQLite file."""
    scheme, separator, _ = target.partition("://")
    return bool(separator) and scheme != "sqlite"


def existing_file(target: str) -> Path | None:
    """Return the resolved path of the file that a path or `sqlite:///` URL names; `None` for a server's database.

    Raises:
        CommandError: there is no such file, or it holds nothing.
        DatabaseError: no file can have such a name, or there is only its log.
        OtherError: the URL is not a valid `sqlite:///` URL.

    """
    if is_url(target):
        return None
    name = sqlite_path(target)
    if name == ":memory:":
        raise CommandError("a database in memory ends with its process: there is nothing to look at")
    # Loaded here: a database on a server needs no SQLite.
    from swarm_persistence.engines.sql.sqlite import file

    path = file.resolve(name)
    size = os.path.getsize(path) if os.path.exists(path) else None
    if not size and (refusal := file.inspect(path, timeout=0).refusal) is not None:
        raise refusal
    if size is None:
        raise CommandError(f"there is no database at {path!r}")
    if size == 0:
        raise CommandError(f"{path!r} is empty: no database")
    return Path(path)


def add_database(parser: argparse.ArgumentParser, where: str = "in this directory") -> None:
    """Add the argument that names a database, or none; `where` says where the default path is."""
    text = f"a path or URL (default: ${DATABASE_VARIABLE}, else {DEFAULT_PATH} {where})"
    parser.add_argument("database", metavar="DATABASE", nargs="?", help=text)


async def open_existing(target: str, *, migrate: bool | None = None) -> Storage:
    """Open the storage that a path or URL names; `migrate`, if given, overrides the URL.

    Raises:
        CommandError: there is no such file, or it holds nothing.
        StorageError: there is no such schema on a server, or the storage cannot be opened.

    """
    path = existing_file(target)
    if path is None and target.partition("://")[0] in SCHEMES:
        from swarm_persistence.backends.postgres import PostgresStorage

        if migrate is None:
            return await PostgresStorage.open(target, must_exist=True)
        return await PostgresStorage.open(target, must_exist=True, migrate=migrate)
    if path is not None:
        from swarm_persistence.backends.sqlite import SqliteStorage

        if migrate is None:
            migrate = sqlite_target(target)[1] is not False
        return await SqliteStorage.open(path, must_exist=True, migrate=migrate)
    return await init_storage(target)


def shown(target: str) -> str:
    """Return the target for output, without a password."""
    return shown_url(target) if is_url(target) else target
