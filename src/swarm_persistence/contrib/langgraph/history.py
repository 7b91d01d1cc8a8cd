"""Reads the checkpoints of LangGraph's threads page by page, the latest first, and what each of them is followed by."""

from bisect import bisect_left, bisect_right
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any

from swarm_persistence import DocumentModel, Storage
from swarm_persistence.contrib.langgraph.checkpoints import (
    ROOT,
    checkpoints_of,
    keys_of_writes,
    matches,
    metadata_of,
)

PAGE = 20
"""Checkpoints, with their whole state, that are held in memory at once."""

Place = tuple[str, tuple[str, ...]]
"""A checkpoint's id and its collection."""


async def ids_before(
    storage: Storage, collection: tuple[str, ...], last: str | None, wanted: Mapping[str, Any], limit: int | None
) -> list[str]:
    """Return the ids before the last one, the latest first, of checkpoints whose metadata has these values."""
    if not wanted:
        return await storage.list_document_keys(collection, before=last, desc=True, limit=limit)
    ids: list[str] = []
    while limit is None or len(ids) < limit:
        query = checkpoints_of(collection, last, wanted).order_by("id", desc=True).limit(PAGE)
        page = await storage.repository(DocumentModel).query(query)
        ids += [document.key for document in page if matches(metadata_of(document.value), wanted)]
        if len(page) < PAGE:
            break
        last = page[-1].key
    return ids[:limit]


async def pages(storage: Storage, places: Sequence[Place]) -> AsyncIterator[list[DocumentModel]]:
    """Yield the checkpoints of these places in pages; those deleted meanwhile are left out."""
    for start in range(0, len(places), PAGE):
        page = places[start : start + PAGE]
        found = {
            (document.key, document.collection): document
            for collection, ids in by_collection(page).items()
            for document in await storage.get_documents(collection, ids)
        }
        yield [found[place] for place in page if place in found]


async def writes_after(storage: Storage, page: Iterable[DocumentModel]) -> dict[Place, list[DocumentModel]]:
    """Return the writes that follow each checkpoint of a page, between whose checkpoints there are no others."""
    writes: dict[Place, list[DocumentModel]] = {}
    for collection, ids in by_collection((each.key, each.collection) for each in page).items():
        after, before = span_of_writes(ids)
        found = await storage.list_documents(writes_collection(collection), after=after, before=before)
        keys = [document.key for document in found]
        writes |= {(id, collection): found[slice(*_positions(keys, id))] for id in ids}
    return writes


async def keys_of_writes_after(storage: Storage, collection: tuple[str, ...], ids: Sequence[str]) -> list[str]:
    """Return the keys of the writes that follow these checkpoints, whatever lies between them."""
    after, before = span_of_writes(ids)
    keys = await storage.list_document_keys(writes_collection(collection), after=after, before=before)
    return [key for id in ids for key in keys[slice(*_positions(keys, id))]]


def by_collection(places: Iterable[Place]) -> dict[tuple[str, ...], list[str]]:
    """Group ids by their collection, in their order."""
    grouped: dict[tuple[str, ...], list[str]] = {}
    for id, collection in places:
        grouped.setdefault(collection, []).append(id)
    return grouped


def writes_collection(collection: tuple[str, ...]) -> tuple[str, ...]:
    """Return the collection of the writes that follow the checkpoints of a collection."""
    _, thread, _, namespace = collection
    return ROOT, thread, "writes", namespace


def span_of_writes(ids: Sequence[str]) -> tuple[str, str]:
    """Return bounds of the keys of all writes that follow these checkpoints."""
    spans = [keys_of_writes(id) for id in ids]
    return min(after for after, _ in spans), max(before for _, before in spans)


def _positions(keys: Sequence[str], id: str) -> tuple[int, int]:
    after, before = keys_of_writes(id)
    return bisect_right(keys, after), bisect_left(keys, before)
