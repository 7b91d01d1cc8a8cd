"""FastMCP's key-value storage over documents; needs `pip install "swarm-persistence[fastmcp]"`.

A value is a document of the collection `("fastmcp", collection)`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, SupportsFloat

from swarm_persistence import DocumentModel, Storage, now, timedelta_of
from swarm_persistence.contrib.json_values import content_of, value_of

try:
    from key_value.aio.protocols.key_value import AsyncKeyValueProtocol
except ImportError as error:
    raise ImportError('SwarmKeyValue needs its protocol: pip install "swarm-persistence[fastmcp]"') from error

ROOT = "fastmcp"
DEFAULT_COLLECTION = "default_collection"


class SwarmKeyValue(AsyncKeyValueProtocol):
    """Keeps values for their `ttl`: caches, tokens and sessions. `storage.prune(…)` deletes old ones."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    async def get(self, key: str, *, collection: str | None = None) -> dict[str, Any] | None:
        """Return the value of a key, or `None`."""
        return (await self.ttl(key, collection=collection))[0]

    async def ttl(self, key: str, *, collection: str | None = None) -> tuple[dict[str, Any] | None, float | None]:
        """Return the value of a key and the seconds until it expires; `None` for no expiry."""
        return (await self.ttl_many([key], collection=collection))[0]

    async def put(
        self, key: str, value: Mapping[str, Any], *, collection: str | None = None, ttl: SupportsFloat | None = None
    ) -> None:
        """Store a value that expires after this many seconds."""
        await self.put_many([key], [value], collection=collection, ttl=ttl)

    async def delete(self, key: str, *, collection: str | None = None) -> bool:
        """Delete the value of a key, and tell whether there was one."""
        return await self.delete_many([key], collection=collection) == 1

    async def get_many(self, keys: Sequence[str], *, collection: str | None = None) -> list[dict[str, Any] | None]:
        """Return the values of keys, `None` for those without one."""
        return [value for value, _ in await self.ttl_many(keys, collection=collection)]

    async def ttl_many(
        self, keys: Sequence[str], *, collection: str | None = None
    ) -> list[tuple[dict[str, Any] | None, float | None]]:
        """Return the values of keys, each with the seconds until it expires."""
        documents = {each.key: each for each in await self._storage.get_documents(_place(collection), keys)}
        return [_kept(documents.get(key)) for key in keys]

    async def put_many(
        self,
        keys: Sequence[str],
        values: Sequence[Mapping[str, Any]],
        *,
        collection: str | None = None,
        ttl: SupportsFloat | None = None,
    ) -> None:
        """Store values in one atomic write."""
        if len(keys) != len(values):
            raise ValueError(f"put_many was given {len(keys)} keys and {len(values)} values, expected as many")
        # A bool is not a number of seconds.
        number = ttl if ttl is None or isinstance(ttl, bool) else float(ttl)
        expires_at = None if number is None else now() + timedelta_of(number, "ttl")
        place = _place(collection)
        await self._storage.put_documents(
            [
                DocumentModel.new(place, key, **content_of(dict(value)), expires_at=expires_at)
                for key, value in zip(keys, values, strict=True)
            ]
        )

    async def delete_many(self, keys: Sequence[str], *, collection: str | None = None) -> int:
        """Delete the values of keys, and return how many there were."""
        return await self._storage.delete_documents(_place(collection), keys=keys)


def _place(collection: str | None) -> tuple[str, str]:
    return (ROOT, collection or DEFAULT_COLLECTION)


def _kept(document: DocumentModel | None) -> tuple[dict[str, Any] | None, float | None]:
    if document is None:
        return None, None
    left = None if document.expires_at is None else (document.expires_at - now()).total_seconds()
    return value_of(document), left
