"""A snapshot: a transaction that does not write. It blocks other writers while it is open."""

from collections.abc import Awaitable, Mapping
from typing import TypeVar

from swarm_persistence.engines.reads import Read
from swarm_persistence.engines.rows.indexeddb.sessions import IndexedDbSession

T = TypeVar("T")


class IndexedDbSnapshot:
    """The database under an exclusive lock, because IndexedDB does not keep old versions of rows."""

    def __init__(self, session: IndexedDbSession) -> None:
        self._session = session

    def read(self, read: Read[T]) -> Awaitable[T]:
        return self._session.read(read)

    def numbers(self) -> Awaitable[Mapping[str, int]]:
        return self._session.numbers()

    async def close(self) -> None:
        await self._session.rollback()
