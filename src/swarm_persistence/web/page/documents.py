"""The documents: collections, the keys of one, a search by words, and the page of one document."""

from datetime import datetime
from typing import Annotated, Any

import msgspec
from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromQuery, QueryParameter

from swarm_persistence import DocumentModel, QueryBuilder, Storage, StorageError
from swarm_persistence.web.access import Visit
from swarm_persistence.web.page.lists import PAGE_SIZE
from swarm_persistence.web.page.remembered import remembered_of
from swarm_persistence.web.page.rendering import render

Within = Annotated[list[str] | None, QueryParameter(name="in")]

_MOST_COLLECTIONS = 200
_MOST_FOUND = 30


class Entry(msgspec.Struct, frozen=True):
    """What a list shows of a document: all but its value, which may have megabytes."""

    key: str
    label: str | None
    version: int
    updated_at: datetime
    expires_at: datetime | None


@get("/documents", include_in_schema=False)
async def documents(  # noqa: PLR0917 - the parts of a query string
    storage: NamedDependency[Storage],
    visit: NamedDependency[Visit],
    within: Within = None,
    after: FromQuery[str] = "",
    label: FromQuery[str] = "",
    words: FromQuery[str] = "",
) -> Response[str]:
    """List the collections below one and the documents in it; with words, what has them there and below."""
    collection = tuple(within or ())
    values: dict[str, Any] = {"collection": collection, "after": after, "label": label, "words": words.strip()}
    values |= {"below": [], "more_below": 0, "entries": [], "next": None, "found": [], "refusal": "", "again_in": None}
    try:
        if values["words"]:
            values["found"] = await storage.search_documents(words, collection, limit=_MOST_FOUND)
        else:
            counts = await remembered_of(storage).get(
                "documents", lambda: storage.count_by(DocumentModel, "collection")
            )
            below = _below(counts.value, collection)
            values |= {"below": below[:_MOST_COLLECTIONS], "more_below": max(len(below) - _MOST_COLLECTIONS, 0)}
            values["again_in"] = counts.newer_in or None
            if collection:
                entries = await _entries(storage, collection, after, label)
                values["entries"] = entries[:PAGE_SIZE]
                values["next"] = entries[PAGE_SIZE - 1].key if len(entries) > PAGE_SIZE else None
    except StorageError as error:
        values["refusal"] = str(error)
    return render(visit, "documents.html", **values)


@get("/documents/item", include_in_schema=False)
async def document(
    storage: NamedDependency[Storage],
    visit: NamedDependency[Visit],
    within: Annotated[list[str], QueryParameter(name="in", min_items=1)],
    key: FromQuery[str],
) -> Response[str]:
    """Show one document."""
    collection = tuple(within)
    found = await storage.get_document(collection, key)
    if found is None:
        return render(visit, "missing.html", status_code=404, page="Documents", noun="document", id=key, events={})
    return render(visit, "document.html", document=found, again_in=10.0)


async def _entries(storage: Storage, collection: tuple[str, ...], after: str, label: str) -> list[Entry]:
    keys = await storage.list_document_keys(collection, after=after or None, label=label or None, limit=PAGE_SIZE + 1)
    ids = [DocumentModel.id_of(collection, key) for key in keys]
    # Counts by the key, one a group: that reads these columns, and not the values.
    columns = await storage.count_by(
        QueryBuilder(DocumentModel).where_in("id", ids), "key", "label", "version", "updated_at", "expires_at"
    )
    return [Entry(*each) for each in columns]


def _below(counts: dict[tuple[Any, ...], int], collection: tuple[str, ...]) -> list[tuple[tuple[str, ...], int]]:
    """Return the collections that lie directly below one, with the number of documents in and below each."""
    depth = len(collection)
    found: dict[tuple[str, ...], int] = {}
    for (path,), count in counts.items():
        if len(path) > depth and path[:depth] == collection:
            place = path[: depth + 1]
            found[place] = found.get(place, 0) + count
    return sorted(found.items())
