"""`WasmStorage`: the storage in a browser's IndexedDB."""

from datetime import timedelta
from typing import Any, Self

import msgspec

from swarm_persistence.durations import seconds
from swarm_persistence.engines.rows.indexeddb.bridge import script
from swarm_persistence.engines.rows.indexeddb.engine import Durability, IndexedDbEngine, IndexedDbSettings
from swarm_persistence.errors import OtherError
from swarm_persistence.schema.values import text
from swarm_persistence.storage import Storage


class StorageEstimate(msgspec.Struct, frozen=True):
    """What the browser says of this site's room, in bytes; rough, and of everything that the site keeps."""

    usage: int | None
    quota: int | None


class WasmStorage(Storage):
    """A storage in the browser, which all tabs and workers of one site share. It outlives them, and the browser."""

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
        """Open the database of this name, or create it, and bring its stores up to date.

        With `durability="relaxed"`, a write whose call has returned outlives the page and the browser; a power cut or a
        crash of the operating system may take the last ones before it. `"strict"` waits for the disk. Durations:
        seconds or timedelta.

        Raises:
            DatabaseError: this is no browser, or it has no IndexedDB here; or the database belongs to another program.
            MigrationError: the database is newer than this code.
            PoolError: another tab kept an older version open for longer than `connection_timeout`.
            OtherError: an argument without sense.

        """
        if durability not in ("relaxed", "strict"):
            raise OtherError(f"durability is {durability!r}, expected 'relaxed' or 'strict'")
        if not name:
            raise OtherError("the name of the database is empty")
        settings = IndexedDbSettings(
            durability,
            seconds(connection_timeout, "connection_timeout"),
            seconds(transaction_timeout, "transaction_timeout"),
        )
        return await cls._open(text(name, "name"), settings)

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
        """Return what the browser says of the room that this site takes and may take.

        `get_storage_size` is exact, and about this storage's own records.
        """
        usage, quota = msgspec.json.decode(await script().estimate())
        return StorageEstimate(usage, quota)

    async def request_persistence(self) -> bool:
        """Ask the browser not to clear this site's data when room runs short, and return whether it will not.

        Browsers decide by themselves, or ask the user. In a worker, this only tells whether the page has asked.
        """
        is_kept: Any = await script().persist()
        return bool(is_kept)

    def __repr__(self) -> str:
        return f"WasmStorage({self._engine.name!r})" if self._is_usable else "WasmStorage"
