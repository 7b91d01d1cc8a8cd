"""The pages of documents: collections, the keys of a collection, a word search, and a single document."""

import asyncio
from datetime import datetime
from typing import Annotated, Any
from urllib.parse import urlencode

import msgspec
from litestar import Response, get, post
from litestar.params import FromPath, FromQuery, QueryParameter

from swarm_persistence import ConflictError, DocumentModel, InvalidQueryError, QueryBuilder, Storage, StorageError
from swarm_persistence.storage.document_lists import sizes_of
from swarm_persistence.web.access import Visit
from swarm_persistence.web.dependencies import FormFields, InjectedStorage, InjectedVisit
from swarm_persistence.web.page.cache import cache_of
from swarm_persistence.web.page.confirming import ask, question_of
from swarm_persistence.web.page.lists import PAGE_SIZE
from swarm_persistence.web.page.rendering import redirect, render

QUESTIONS = {"delete": "Delete this document? This cannot be undone."}

Within = Annotated[list[str] | None, QueryParameter(name="in")]

_MOST_COLLECTIONS = 200
_MOST_FOUND = 30


class Entry(msgspec.Struct, frozen=True):
    """A document in a list: all but its value, which may have megabytes."""

    size: int
    """The bytes of value, data and embedding."""
    key: str
    label: str | None
    version: int
    updated_at: datetime
    expires_at: datetime | None


@get("/documents", include_in_schema=False)
async def documents(  # noqa: PLR0917 - the parts of a query string
    storage: InjectedStorage,
    visit: InjectedVisit,
    within: Within = None,
    after: FromQuery[str] = "",
    label: FromQuery[str] = "",
    words: FromQuery[str] = "",
    done: FromQuery[str] = "",
) -> Response[str]:
    """List the collections below one and the documents in it; with words, the matching documents there and below."""
    collection = tuple(within or ())
    values: dict[str, Any] = {
        "collection": collection,
        "after": after,
        "label": label,
        "words": words.strip(),
        "done": done,
    }
    values |= {"below": [], "more_below": 0, "entries": [], "next": None, "found": [], "refusal": "", "again_in": None}
    try:
        if values["words"]:
            values["found"] = await storage.search_documents(words, collection, limit=_MOST_FOUND)
        else:
            counts = await cache_of(storage).get("documents", lambda: storage.count_by(DocumentModel, "collection"))
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
    storage: InjectedStorage,
    visit: InjectedVisit,
    within: Annotated[list[str], QueryParameter(name="in", min_items=1)],
    key: FromQuery[str],
) -> Response[str]:
    """Show one document."""
    return await _document_page(storage, visit, tuple(within), key)


@post("/documents/item/{action:str}", status_code=303, include_in_schema=False)
async def act(
    storage: InjectedStorage, visit: InjectedVisit, action: FromPath[str], data: FormFields
) -> Response[str] | Response[None]:
    """Delete a document if it is unchanged since it was shown; without a confirmation, ask for one."""
    question = question_of(action, QUESTIONS)
    try:
        # As JSON, because browsers change line breaks in the fields of forms.
        parts, key = msgspec.json.decode(data.get("document", ""), type=tuple[list[str], str])
    except msgspec.MsgspecError as error:
        raise InvalidQueryError(f"document does not name a collection and key: {error}") from error
    collection = tuple(parts)
    back = f"/documents/item?{urlencode({'in': collection, 'key': key}, doseq=True)}"
    if data.get("confirmed") != "yes":
        return ask(visit, "Documents", question, key, "/documents/item", action, data, back=back)

    async def delete() -> None:
        stored = await storage.get_document(collection, key)
        if stored is not None and str(stored.version) != data.get("version"):
            raise ConflictError(f"document {key!r} has version {stored.version}, and was shown as another one")
        await storage.take_document(collection, key)

    try:
        await storage.run_transaction(delete)
    except ConflictError as error:
        return await _document_page(storage, visit, collection, key, refusal=str(error), status_code=409)
    cache_of(storage).invalidate("documents")
    there = urlencode({"in": collection, "done": action}, doseq=True)
    return redirect(visit, f"/documents?{there}")


async def _document_page(  # noqa: PLR0917
    storage: Storage, visit: Visit, collection: tuple[str, ...], key: str, refusal: str = "", status_code: int = 200
) -> Response[str]:
    found = await storage.get_document(collection, key)
    if found is None:
        return render(visit, "missing.html", status_code=404, page="Documents", noun="document", id=key, events={})
    return render(
        visit,
        "document.html",
        status_code=status_code,
        document=found,
        again_in=10.0,
        refusal=refusal,
        is_live=not refusal,
    )


async def _entries(storage: Storage, collection: tuple[str, ...], after: str, label: str) -> list[Entry]:
    keys = await storage.list_document_keys(collection, after=after or None, label=label or None, limit=PAGE_SIZE + 1)
    ids = [DocumentModel.id_of(collection, key) for key in keys]
    # Counts by the key, one a group: that reads these columns, and not the values.
    columns, sizes = await asyncio.gather(
        storage.count_by(
            QueryBuilder(DocumentModel).where_in("id", ids), "key", "label", "version", "updated_at", "expires_at"
        ),
        sizes_of(storage, collection, keys),
    )
    return [Entry(sizes[each[0]], *each) for each in columns if each[0] in sizes]


def _below(counts: dict[tuple[Any, ...], int], collection: tuple[str, ...]) -> list[tuple[tuple[str, ...], int]]:
    """Return the collections that lie directly below one, with the number of documents in and below each."""
    depth = len(collection)
    found: dict[tuple[str, ...], int] = {}
    for (path,), count in counts.items():
        if len(path) > depth and path[:depth] == collection:
            place = path[: depth + 1]
            found[place] = found.get(place, 0) + count
    return sorted(found.items())
