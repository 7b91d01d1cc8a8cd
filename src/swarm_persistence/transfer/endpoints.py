"""The sources and targets of a copy; storages as endpoints."""

from collections.abc import AsyncIterator, Mapping, Sequence
from hashlib import sha256
from types import TracebackType
from typing import Any, Protocol, Self

import msgspec

from swarm_persistence.engines.interface import Reader
from swarm_persistence.engines.lines import BATCH, StoredRecord, batches_of
from swarm_persistence.engines.reads import Count, Values
from swarm_persistence.models import EventModel, MessageModel, Model
from swarm_persistence.query.query import Condition, Query
from swarm_persistence.schema.tables import SEQUENCE, Table
from swarm_persistence.storage import Storage
from swarm_persistence.storage.backups import write_stored

__all__ = ["BATCH", "Endpoint", "StorageEndpoint", "StorageSource", "digest_of"]


class Endpoint(Protocol):
    """A source or target of a copy, with records of every table."""

    async def count(self, table: Table[Any]) -> int:
        """Count the records of a table."""
        ...

    def batches(self, table: Table[Any]) -> AsyncIterator[Sequence[StoredRecord]]:
        """Yield all records of a table by sequence, in batches."""
        ...

    async def known(self, table: Table[Any], ids: Sequence[str]) -> Mapping[str, bytes]:
        """Return the digests of the existing records with these ids, by id."""
        ...

    async def add(self, table: Table[Any], records: Sequence[StoredRecord]) -> None:
        """Store new records atomically."""
        ...

    async def flush(self) -> None:
        """Make the added records durable."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


def digest_of(record: Model) -> bytes:
    """Return the digest of a record's fields, without its sequence, which the target assigns anew."""
    if isinstance(record, EventModel | MessageModel):
        record = msgspec.structs.replace(record, sequence=None)
    return sha256(record.to_json().encode()).digest()


class StorageEndpoint:
    """The current records of a storage."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._reader: Reader = storage.engine

    async def count(self, table: Table[Any]) -> int:
        """Count the records of a table."""
        return await self._reader.read(Count(Query(table)))

    def batches(self, table: Table[Any]) -> AsyncIterator[Sequence[StoredRecord]]:
        """Yield all records of a table, in batches."""
        return batches_of(self._reader, table)

    async def known(self, table: Table[Any], ids: Sequence[str]) -> Mapping[str, bytes]:
        """Return the digests of the records that exist already."""
        found = Query(table, (Condition("id", "IN", tuple(ids)),))
        rows = await self._reader.read(Values(found, (*table.stored_names, SEQUENCE)))
        records = [StoredRecord.of(table, row).record for row in rows]
        return {record.id: digest_of(record) for record in records}

    async def add(self, table: Table[Any], records: Sequence[StoredRecord]) -> None:
        """Store new records atomically, with their versions; they get new sequences."""
        await write_stored(self._storage, table, records, keeps_sequences=False)

    async def flush(self) -> None:
        """Do nothing: added records are durable at once."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._storage.close()


class StorageSource(StorageEndpoint):
    """A snapshot of a storage's records, taken when the block is entered."""

    async def __aenter__(self) -> Self:
        self._reader = self._snapshot = await self._storage.engine.snapshot()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            await self._snapshot.close()
        finally:
            await super().__aexit__(kind, error, traceback)
