"""The verbs of many documents: list, delete, copy, change their expiry."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from swarm_persistence.engines.reads import Aggregate, AggregateFunction, Read, Select, Sizes, Values, leading
from swarm_persistence.engines.steps import Delete, DeleteFirst, Increment, Put, Update
from swarm_persistence.models import DocumentModel
from swarm_persistence.models.collections import collection_of, collection_text, document_id
from swarm_persistence.query.builder import bound
from swarm_persistence.query.collections import collection_argument, collections_below
from swarm_persistence.query.query import Condition, Order, Query, one_of, with_condition
from swarm_persistence.schema.tables import DOCUMENTS
from swarm_persistence.storage.arguments import flag
from swarm_persistence.storage.core import NOW, StorageCore
from swarm_persistence.storage.document_ranges import (
    IS_UNEXPIRED,
    DocumentChoice,
    expiry_argument,
    query_of,
    refuse_overlap,
)
from swarm_persistence.storage.documents import DocumentVerbs


class _Batch(NamedTuple):
    """The largest size of one write; a single document may have more bytes."""

    documents: int
    bytes: int


_WRITTEN = _Batch(500, 8 * 2**20)
_DELETED = _Batch(2_000, 32 * 2**20)  # takes 5 to 15 ms, about as long as a commit waits for the disk


class DocumentListVerbs(DocumentVerbs):
    """Many documents: list, delete, copy, change their expiry."""

    async def list_documents(
        self,
        collection: Sequence[str],
        *,
        below: bool = False,
        after: str | None = None,
        before: str | None = None,
        label: str | None = None,
        by_arrival: bool = False,
        desc: bool = False,
        limit: int | None = None,
    ) -> list[DocumentModel]:
        """Return the documents of a collection by key, or in the order in which they were first stored.

        With `below`, those of the collections below it as well, collection by collection. `after` and `before` exclude
        the given keys and all beyond. `desc` reverses the order; `limit` then applies to the reversed list.
        """
        choice = DocumentChoice(collection, below, None, after, before, label, by_arrival)
        return await self._executor().read(Select(query_of(choice, desc=desc, limit=_limit(limit))))

    async def list_document_keys(
        self,
        collection: Sequence[str],
        *,
        after: str | None = None,
        before: str | None = None,
        label: str | None = None,
        by_arrival: bool = False,
        desc: bool = False,
        limit: int | None = None,
    ) -> list[str]:
        """Return the keys that `list_documents` would find, without reading values."""
        choice = DocumentChoice(collection, False, None, after, before, label, by_arrival)
        query = query_of(choice, desc=desc, limit=_limit(limit))
        rows: list[Any] = await self._executor().read(Values(query, ("key",)))
        return [row[0] for row in rows]

    async def list_collections(
        self, under: Sequence[str] = (), *, depth: int | None = None, limit: int | None = None
    ) -> list[tuple[str, ...]]:
        """Return the collections that hold documents, at and below `under`, in the order of their parts.

        With `depth`, paths are truncated to that many parts, and each is returned once.
        """
        most = _limit(limit)
        deepest = None if depth is None else bound("depth", depth)
        within = collections_below(collection_argument(under, "under"), "collection")
        query: Query[DocumentModel] = Query(DOCUMENTS, (*within, *IS_UNEXPIRED))
        count = (AggregateFunction("count"),)
        rows: list[Any] = [*await self._executor().read(Aggregate(query, ("collection",), count))]
        found = dict.fromkeys(collection_of(row[0])[:deepest] for row in rows)
        return [*found][:most]

    async def delete_documents(
        self,
        collection: Sequence[str],
        *,
        below: bool = False,
        keys: Iterable[str] | None = None,
        after: str | None = None,
        before: str | None = None,
        label: str | None = None,
    ) -> int:
        """Delete the documents that these arguments choose, and return how many.

        Each batch, of 2,000 documents and 32 MiB at most, is a separate write, between which others can write; if the
        call is cancelled, what was deleted so far stays deleted. Within a transaction, all of it belongs to the
        transaction. Expired documents are deleted as well, and not counted.
        """
        choice = DocumentChoice(collection, below, keys, after, before, label)
        deleted: int = 0
        if keys is not None:
            async for batch in self._batches(choice):
                unexpired, _ = await self._executor().write(
                    [Delete(Query(DOCUMENTS, (*batch, *IS_UNEXPIRED))), Delete(Query(DOCUMENTS, batch))]
                )
                deleted += unexpired
            return deleted
        left = choice.conditions()
        while True:
            first = Query(DOCUMENTS, left, _BY_ID, _DELETED.documents)
            unexpired, last = await self._write_one(DeleteFirst(first, _DELETED.bytes))
            deleted += unexpired
            if last is None:
                return deleted
            left = with_condition(left, Condition("id", ">", last))
            await asyncio.sleep(0)  # in memory, nothing else yields to other tasks

    async def touch_documents(
        self,
        collection: Sequence[str],
        *,
        expires_at: datetime | float | timedelta | None,
        below: bool = False,
        keys: Iterable[str] | None = None,
        after: str | None = None,
        before: str | None = None,
        label: str | None = None,
    ) -> int:
        """Set the expiry of the chosen documents, and return how many; `None` means never, a timedelta counts from now.

        This writes each document and raises its version, in batches as in `copy_documents`.
        """
        changes: dict[str, Any] = {
            "expires_at": expiry_argument(expires_at),
            "updated_at": NOW,
            "version": Increment(),
        }
        touched = 0
        async for batch in self._batches(DocumentChoice(collection, below, keys, after, before, label)):
            touched += await self._write_one(Update(Query(DOCUMENTS, (*batch, *IS_UNEXPIRED)), changes))
        return touched

    async def copy_documents(self, source: Sequence[str], target: Sequence[str], *, below: bool = False) -> int:
        """Copy the documents of a collection into another one, and return how many.

        Those of the same keys are replaced. With `below`, the collections below it are copied to below the target. New
        documents keep the `created_at`, `updated_at` and expiry of their originals. Each batch is a separate write, as
        in `delete_documents`, of 500 documents and 8 MiB at most, or of one larger document.

        Raises:
            InvalidQueryError: the target is the source, or lies within what is copied.

        """
        origin, goal = collection_argument(source, "source"), collection_argument(target, "target")
        refuse_overlap(origin, goal, below=flag(below, "below"))
        place = len(collection_of(origin))
        copied = 0
        async for page in self._pages(DocumentChoice(source, below).conditions(), _WRITTEN.documents):
            for ids in _within_bytes(page, _WRITTEN.bytes):
                batch = (Condition("id", ">=", ids[0]), Condition("id", "<=", ids[-1]), *IS_UNEXPIRED)
                documents = await self._executor().read(Select(Query(DOCUMENTS, batch, _BY_ID)))
                for document in documents:
                    document.collection = (*collection_of(goal), *document.collection[place:])
                    document.id = document_id(collection_text(document.collection), document.key)
                if documents:
                    await self._write_one(Put(documents))
                copied += len(documents)
        return copied

    async def _batches(self, choice: DocumentChoice) -> AsyncIterator[tuple[Condition, ...]]:
        """Yield conditions that each choose a batch of the documents, in the order of their ids."""
        conditions, keys = choice.conditions(), choice.chosen_keys()
        if keys is None:
            others = tuple(each for each in conditions if each.field != "id")
            async for page in self._pages(conditions, _WRITTEN.documents):
                for ids in _within_bytes(page, _WRITTEN.bytes):
                    yield (*others, Condition("id", ">=", ids[0]), Condition("id", "<=", ids[-1]))
            return
        size = _WRITTEN.documents
        for wanted in [keys[start : start + size] for start in range(0, len(keys), size)]:
            if choice.below:
                async for page in self._pages((*conditions, one_of("key", wanted)), size):
                    for ids in _within_bytes(page, _WRITTEN.bytes):
                        yield (*conditions, one_of("id", ids))
            else:
                within = collection_argument(choice.collection)
                yield (*conditions, one_of("id", [document_id(within, key) for key in wanted]))
                await asyncio.sleep(0)  # in memory, nothing else yields to other tasks

    async def _pages(
        self, chosen: tuple[Condition, ...], size: int, read: Callable[[Query[Any]], Read[Any]] = Sizes
    ) -> AsyncIterator[list[Any]]:
        """Yield what is read of the documents, by default ids and bytes, a page at a time, in the order of the ids."""
        while True:
            rows = await self._executor().read(read(Query(DOCUMENTS, chosen, _BY_ID, size)))
            if not rows:
                return
            yield rows
            if len(rows) < size:
                return
            chosen = with_condition(chosen, Condition("id", ">", rows[-1][0]))
            await asyncio.sleep(0)  # in memory, nothing else yields to other tasks


async def sizes_of(core: StorageCore, collection: Sequence[str], keys: Iterable[str]) -> dict[str, int]:
    """Return the bytes of value, data and embedding of the documents of these keys that are stored, by key."""
    ids = {DocumentModel.id_of(tuple(collection), key): key for key in keys}
    if not ids:
        return {}
    return {ids[id]: size for id, size in await core._executor().read(Sizes(Query(DOCUMENTS, (one_of("id", [*ids]),))))}


def _within_bytes(page: list[tuple[str, int]], most: int) -> Iterator[list[str]]:
    """Yield the ids of a page in runs of at most so many bytes, or of one larger document."""
    start = 0
    while start < len(page):
        end = start + leading((size for _, size in page[start:]), most)
        yield [id for id, _ in page[start:end]]
        start = end


_BY_ID = (Order("id"),)


def _limit(limit: int | None) -> int | None:
    return None if limit is None else bound("limit", limit)
