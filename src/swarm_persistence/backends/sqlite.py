"""`SqliteStorage`: the storage on one SQLite file, and its builder."""

import os
from datetime import timedelta
from typing import Self

from swarm_persistence.backends.pools import PooledStorageBuilder
from swarm_persistence.durations import in_seconds
from swarm_persistence.engines.pools import Durability
from swarm_persistence.engines.runtime import running_loop
from swarm_persistence.engines.sql.sqlite.engine import SqliteEngine
from swarm_persistence.engines.sql.sqlite.settings import SqliteSettings
from swarm_persistence.storage import Storage


class SqliteStorage(Storage):
    """A storage in one SQLite file, which any number of processes on one machine may share."""

    database_system = "sqlite"

    _engine: SqliteEngine

    @classmethod
    async def open(
        cls,
        path: str | os.PathLike[str],
        *,
        durability: Durability = "full",
        checksums: bool = False,
        must_exist: bool = False,
        migrate: bool = True,
    ) -> Self:
        """Open or create the file, and migrate its schema to the latest version.

        With `must_exist`, a file that is missing or holds no swarm is refused, and none is created. A file that cannot
        be written, such as one on a read-only file system, can then still be read; writes raise `DatabaseError`.

        With `durability="full"`, every write whose call has returned is durable. With `"normal"`, a power cut or a
        crash of the operating system may lose the last commits; the file stays consistent, and a crash of the process
        alone loses nothing. The sequences of lost events and messages are assigned again, so a reader that has seen
        them and resumes from its position misses as many new ones: after such a crash, let it start over.

        A newer file is opened if it is marked as compatible with this code. With `migrate=False`, no file is created
        and no schema changed: a file that is missing, or too old for this code, is refused; run
        `swarm-persistence migrate` to change it.

        `checksums=True` makes a new file keep a checksum of each page: reading a page that was corrupted on disk raises
        `DatabaseError`. A file that was created with checksums keeps them, however it is opened.

        Raises:
            DatabaseError: the path is a directory, its parent is missing, or the file cannot be read or written, is not
                an SQLite database, belongs to another program, or is missing or empty beside its log. The file is
                unchanged.
            MigrationError: the file is too new or, with `migrate=False`, too old for this code, or another program has
                marked it as its own, or a migration failed. The file is unchanged.
            PoolError: another process kept the file locked for longer than `connection_timeout`.
            OtherError: checksums are requested, but the file was created without them, or they are not available here.

        """
        settings = SqliteSettings(durability=durability, checksums=checksums, migrate=migrate)
        return await cls._open(path, settings, must_exist=must_exist)

    @classmethod
    async def new(cls, db_path: str | os.PathLike[str]) -> Self:
        """Open or create the file, as `open` does: the seed's spelling."""
        return await cls.open(db_path)

    @classmethod
    def builder(cls) -> "SqliteStorageBuilder":
        """Return a builder with the default settings."""
        return SqliteStorageBuilder()

    @classmethod
    async def _open(cls, path: str | os.PathLike[str], settings: SqliteSettings, *, must_exist: bool = False) -> Self:
        running_loop()
        engine = SqliteEngine(path, settings)
        await engine.open(must_exist=must_exist)
        return cls(engine)

    @property
    def path(self) -> str:
        """Return the absolute path of the file itself, with all symbolic links followed."""
        return self._engine.path

    def __repr__(self) -> str:
        return f"SqliteStorage({self._engine.path!r})" if self._is_usable else "SqliteStorage"


class SqliteStorageBuilder(PooledStorageBuilder[SqliteSettings]):
    """Configures an `SqliteStorage`; each method changes the builder and returns it. Durations: seconds or timedelta.

    One connection writes and stays open; the others read.
    """

    def __init__(self) -> None:
        self._settings = SqliteSettings()

    def checksums(self, checksums: bool = True) -> Self:
        """Set whether a new file keeps a checksum of each page. Default `False`."""
        return self._set(checksums=checksums)

    def longest_stay(self, duration: float | timedelta) -> Self:
        """Set how long a single caller's operation may occupy the event loop's thread. Default 1 ms.

        It runs there because a round trip to another thread takes about as long. After an operation that exceeded the
        limit, such as a commit on a slow disk, the next ones are sent to the threads for a while; 0 sends all of them.
        The read of a list is interrupted after half the limit, and repeated in a thread.
        """
        return self._set(longest_stay=in_seconds(duration))

    async def build(self, path: str | os.PathLike[str]) -> SqliteStorage:
        """Open the storage; raises what `SqliteStorage.open` raises, and `OtherError` for an invalid setting."""
        return await SqliteStorage._open(path, self._settings)
