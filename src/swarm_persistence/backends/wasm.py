"""`WasmStorage`: the storage in a browser's IndexedDB."""

from datetime import timedelta
from typing import Any, Self

import msgspec

from swarm_persistence.durations import seconds
from swarm_persistence.engines.rows.indexeddb.bridge import script
from swarm_persistence.engines.rows.indexeddb.engine import Durability, IndexedDbEngine, IndexedDbSettings
from swarm_persistence.errors import OtherError, shown
from swarm_persistence.schema.values import text
from swarm_persistence.storage import Storage


class StorageEstimate(msgspec.Struct, frozen=True):
    """The browser's rough estimate of the disk space of this whole site, in bytes."""

    usage: int | None
    quota: int | None


class WasmStorage(Storage):
    """A persistent storage in the browser, shared by all tabs and workers of one site."""

    database_system = "indexeddb"

    _engine: IndexedDbEngine

    @classmethod
    async def open(
        cls,
        name: str = "swarm",
        *,
        durability: Durability = "relaxed",
        connection_timeout: float | timedelta = 30.0,
        transaction_timeout: float | timedelta = 30.0,
    ) -> Self:
        """Open or create the database of this name, and migrate its object stores to the latest version.

        With `durability="relaxed"`, a write whose call has returned survives a crash of the page or the browser; a
        power cut or a crash of the operating system may lose the last ones. `"strict"` waits for the disk. Durations:
        seconds or timedelta.

        Raises:
            DatabaseError: this is not a browser, has no IndexedDB, or the database belongs to another program.
            MigrationError: the database is newer than this code.
            PoolError: another tab kept an older version open for longer than `connection_timeout`.
            OtherError: an argument is invalid.

        """
        if durability not in ("relaxed", "strict"):
            raise OtherError(f"durability is {shown(durability)}, expected 'relaxed' or 'strict'")
        if not name:
            raise OtherError("the name of the database is empty")
        settings = IndexedDbSettings(
            durability,
            seconds(connection_timeout, "connection_timeout"),
            seconds(transaction_timeout, "transaction_timeout"),
        )
        return await cls._open(text(name, "name"), settings)

    @classmethod
    async def new(cls) -> Self:
        """Open or create the database `swarm`, as `open` does: the seed's spelling."""
        return await cls.open()

    @classmethod
    async def _open(cls, name: str, settings: IndexedDbSettings) -> Self:
        engine = IndexedDbEngine(name, settings)
        await engine.start()
        return cls(engine)

    @property
    def name(self) -> str:
        """Return the name of the database."""
        return self._engine.name

    async def storage_estimate(self) -> StorageEstimate:
        """Return the browser's estimate of the disk space that this site uses, and of its quota.

        `get_storage_size` returns the exact size of this storage's records.
        """
        usage, quota = msgspec.json.decode(await script().estimate())
        return StorageEstimate(usage, quota)

    async def request_persistence(self) -> bool:
        """Ask the browser to make this site's data persistent, and return whether it is.

        Browsers decide by themselves or ask the user. In a worker, this only returns whether the data is persistent.
        """
        is_kept: Any = await script().persist()
        return bool(is_kept)

    def __repr__(self) -> str:
        return f"WasmStorage({self._engine.name!r})" if self._is_usable else "WasmStorage"
