"""What records can be copied from and to, and a storage as such a place."""

from collections.abc import AsyncIterator, Sequence
from hashlib import sha256
from types import TracebackType
from typing import Any, Protocol, Self

import msgspec

from swarm_persistence.models import AgentModel, EventModel, MessageModel, Model, TaskModel
from swarm_persistence.query.builder import QueryBuilder
from swarm_persistence.schema.tables import PUBLIC_TABLES
from swarm_persistence.storage import Storage

MODELS: tuple[type[Model], ...] = tuple(table.model for table in PUBLIC_TABLES)
"""What is copied, in this order."""

BATCH = 500
"""Records in one write."""


class Place(Protocol):
    """Holds records of every model."""

    async def count(self, model: type[Model]) -> int:
        """Count the records of a model."""
        ...

    def batches(self, model: type[Model]) -> AsyncIterator[Sequence[Any]]:
        """Yield all records of a model in the order of their arrival, in batches."""
        ...

    async def known(self, model: type[Model], ids: Sequence[str]) -> dict[str, bytes]:
        """Return the digests of the records of these ids that are there already, by their ids."""
        ...

    async def add(self, records: Sequence[Any]) -> None:
        """Store new records: all, or none."""
        ...

    async def flush(self) -> None:
        """Make what was added durable."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


def digest_of(record: Model) -> bytes:
    """Return the digest of all that a record says; where it arrived among others is not its own."""
    if isinstance(record, EventModel | MessageModel):
        record = msgspec.structs.replace(record, sequence=None)
    return sha256(record.to_json().encode()).digest()


class StoragePlace:
    """The records of a storage."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    async def count(self, model: type[Model]) -> int:
        """Count the records of a model."""
        return await self._storage.repository(model).count()

    def batches(self, model: type[Model]) -> AsyncIterator[Sequence[Any]]:
        """Yield all records of a model, in batches."""
        return self._storage.repository(model).batches(batch_size=BATCH)

    async def known(self, model: type[Model], ids: Sequence[str]) -> dict[str, bytes]:
        """Return the digests of the records that are there already."""
        found = await self._storage.repository(model).query(QueryBuilder(model).where_in("id", ids))
        return {record.id: digest_of(record) for record in found}

    async def add(self, records: Sequence[Any]) -> None:
        """Store new records as one, with the versions that they have."""
        for record in records:
            if isinstance(record, AgentModel | TaskModel):
                record.version -= 1  # which the write raises
        await self._storage.store_many(records)

    async def flush(self) -> None:
        """Do nothing: what was added is durable."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._storage.close()
