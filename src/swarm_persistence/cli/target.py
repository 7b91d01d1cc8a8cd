"""Finds the database that a name means, and refuses one that is not there: looking must not create it."""

from pathlib import Path

from swarm_persistence.backends.targets import init_storage, sqlite_path
from swarm_persistence.cli.failure import CommandError
from swarm_persistence.engines.sql.postgres.target import SCHEMES
from swarm_persistence.engines.sql.postgres.target import shown as shown_url
from swarm_persistence.storage import Storage


def existing_file(target: str) -> Path | None:
    """Return the absolute path of the file that a path or `sqlite:///` URL names; `None` for a database on a server.

    Raises:
        CommandError: there is no such file, or it holds nothing.
        OtherError: the URL is not of the form that SQLite takes.

    """
    scheme, separator, _ = target.partition("://")
    if separator and scheme != "sqlite":
        return None
    path = Path(sqlite_path(target)).absolute()
    if str(path) == str(Path(":memory:").absolute()):
        raise CommandError("a database in memory ends with its process: there is nothing to look at")
    if not path.exists():
        raise CommandError(f"there is no database at {str(path)!r}")
    if path.is_file() and path.stat().st_size == 0:
        raise CommandError(f"{str(path)!r} is empty: no database")
    return path


async def open_existing(target: str) -> Storage:
    """Open the storage that a path or URL names.

    Raises:
        CommandError: there is no such file, or it holds nothing.
        StorageError: there is no such schema on a server, or the storage cannot be opened.

    """
    path = existing_file(target)
    if path is None and target.partition("://")[0] in SCHEMES:
        from swarm_persistence.backends.postgres import PostgresStorage

        return await PostgresStorage.open(target, must_exist=True)
    return await init_storage(path or target)


def shown(target: str) -> str:
    """Return the target as it may be printed: without a password."""
    scheme, separator, _ = target.partition("://")
    return shown_url(target) if separator and scheme != "sqlite" else target
