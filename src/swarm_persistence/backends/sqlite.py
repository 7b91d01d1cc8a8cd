"""`SqliteStorage`: the storage on one SQLite file, and its builder."""

import os
from typing import Self

from swarm_persistence.backends.pools import PooledStorageBuilder
from swarm_persistence.engines.pools import Durability
from swarm_persistence.engines.sql.sqlite.engine import SqliteEngine
from swarm_persistence.engines.sql.sqlite.settings import Settings
from swarm_persistence.engines.surroundings import running_loop
from swarm_persistence.storage import Storage


class SqliteStorage(Storage):
    """A storage on one SQLite file, which any number of processes of one machine may share."""

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
        """Open the file, or create it, and bring its schema up to date.

        With `must_exist`, a file that is missing or holds no swarm is refused, and none is created. One that cannot be
        written, as on a read-only file system, can then be read: writes raise `DatabaseError`.

        `durability="full"` keeps every write whose call has returned, whatever happens. With `"normal"`, a power cut or
        a crash of the operating system may take the last commits before it; the file stays sound, and a crash of the
        process alone takes nothing. The numbers of events and messages that were taken are given out again, so a reader
        that has seen those, and goes on from its place, misses as many new ones: after such a crash, let it start anew.

        A newer file is opened if it says that this code may work on it. With `migrate=False`, no file is created and no
        schema changed: a file that is missing, or too old for this code, is refused; `swarm-persistence migrate`
        changes it.

        `checksums=True` makes a new file keep a checksum of each page: what a disk has changed raises `DatabaseError`
        when it is read, instead of being returned. A file that keeps them goes on doing so however it is opened.

        Raises:
            DatabaseError: the path is a directory, its parent is missing, the file cannot be read or written, is no
                SQLite database, or is another program's, or is missing or empty beside its log; it is left as it is.
            MigrationError: the file is too new or, with `migrate=False`, too old for this code, or another program has
                taken it for its own, or a migration failed; it is left as it is.
            PoolError: another process kept the file locked for longer than `connection_timeout`.
            OtherError: checksums are asked for, and the file was made without; or they are not to be had here.

        """
        settings = Settings(durability=durability, checksums=checksums, migrate=migrate)
        return await cls._open(path, settings, must_exist=must_exist)

    @classmethod
    def builder(cls) -> "SqliteStorageBuilder":
        """Return a builder with the default settings."""
        return SqliteStorageBuilder()

    @classmethod
    async def _open(cls, path: str | os.PathLike[str], settings: Settings, *, must_exist: bool = False) -> Self:
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


class SqliteStorageBuilder(PooledStorageBuilder[Settings]):
    """Sets up an `SqliteStorage`; each method changes the builder and returns it. Durations: seconds or timedelta.

    Of the connections, one writes, and stays open; the others read.
    """

    def __init__(self) -> None:
        self._settings = Settings()

    def checksums(self, checksums: bool = True) -> Self:
        """Set whether a new file keeps a checksum of each page. Default `False`."""
        return self._set(checksums=checksums)

    async def build(self, path: str | os.PathLike[str]) -> SqliteStorage:
        """Open the storage; raises what `SqliteStorage.open` raises, and `OtherError` for a setting without sense."""
        return await SqliteStorage._open(path, self._settings)
