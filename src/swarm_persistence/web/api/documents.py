"""Documents over HTTP: list, search, show, put, delete. One is named by its collection and key, as query parameters."""

from datetime import datetime
from typing import Annotated, Any

from litestar import Response, Router, delete, get, post, put
from litestar.params import FromQuery, HeaderParameter, JSONBody, QueryParameter
from msgspec import Meta, Struct
from msgspec.structs import asdict

from swarm_persistence import DocumentModel, FoundDocument, NotFoundError, Storage
from swarm_persistence.engines.reads import Metric
from swarm_persistence.web.answers import answer, record_answer
from swarm_persistence.web.api.parameters import IfMatch, Limit
from swarm_persistence.web.api.records import delete_if_it_matches, handlers_of_many
from swarm_persistence.web.dependencies import InjectedStorage
from swarm_persistence.web.entity_tags import require_match
from swarm_persistence.web.problems import HttpProblem

Collection = Annotated[
    list[str], QueryParameter(min_items=1, description="The parts of the collection's path, in their order.")
]
_Within = Annotated[
    list[str] | None, QueryParameter(description="The parts of the path of a collection, in their order. Default: all.")
]
IfNoneMatch = Annotated[
    str | None,
    HeaderParameter(name="If-None-Match", description="With *, only if there is no such document: else 412."),
]

NEAREST = "/nearest"
_DEFAULT_FOUND = 10


class DocumentContent(Struct, kw_only=True, forbid_unknown_fields=True):
    """What a document holds."""

    value: Any = None
    data: bytes | None = None
    """In base64."""
    label: str | None = None
    expires_at: datetime | None = None
    embedding: list[float] | None = None


@get("/search")
async def search_documents(
    storage: InjectedStorage,
    words: Annotated[str, QueryParameter(description="All of them must be in a document, without regard to case.")],
    collection: _Within = None,
    below: Annotated[bool, QueryParameter(description="Also in the collections below it.")] = True,
    limit: Limit = _DEFAULT_FOUND,
) -> Response[list[FoundDocument]]:
    """Return the documents whose value has every word, with their scores, best match first."""
    return answer(await storage.search_documents(words, collection or (), below=below, limit=limit))


class NearestSearch(Struct, kw_only=True, forbid_unknown_fields=True):
    """An embedding, and the collection in which the documents nearest to it are searched for."""

    embedding: list[float]
    collection: list[str] = []
    """The parts of its path; default: all collections."""
    below: bool = True
    """Also in the collections below it."""
    limit: Annotated[int, Meta(ge=1, le=1000)] = _DEFAULT_FOUND
    metric: Metric = "cosine"


@post(NEAREST, status_code=200)
async def nearest_documents(data: JSONBody[NearestSearch], storage: InjectedStorage) -> Response[list[FoundDocument]]:
    """Return the documents whose embeddings are the nearest, with their scores, best match first; changes nothing."""
    return answer(await storage.nearest_documents(**asdict(data)))


@get("/item")
async def show_document(
    storage: InjectedStorage, collection: Collection, key: FromQuery[str]
) -> Response[DocumentModel]:
    """Return the document of a key in a collection."""
    return record_answer(await _existing(storage, collection, key))


@put("/item")
async def put_document(
    data: JSONBody[DocumentContent],
    storage: InjectedStorage,
    collection: Collection,
    key: FromQuery[str],
    if_match: IfMatch = None,
    if_none_match: IfNoneMatch = None,
) -> Response[DocumentModel]:
    """Store a document, or replace the one of this key; with `If-Match`, only one of this version: else 412."""
    document = DocumentModel.new(
        collection,
        key,
        data.value,
        data.data,
        label=data.label,
        expires_at=data.expires_at,
        embedding=data.embedding,
    )
    if if_none_match is not None:
        if if_none_match.strip() != "*":
            raise HttpProblem(422, f"If-None-Match is {if_none_match!r}, expected *")
        if if_match is not None:
            raise HttpProblem(412, "If-Match and If-None-Match: * never hold at once.")
        if (await storage.put_documents([], if_absent=[document])).kept:
            raise HttpProblem(412, f"There is a document {key!r} in {collection} already.")
        return record_answer(document)
    if if_match is None:
        await storage.put_documents([document])
        return record_answer(document)

    def change(stored: DocumentModel) -> None:
        require_match(if_match, stored)
        stored.value, stored.data, stored.label = document.value, document.data, document.label
        stored.expires_at, stored.embedding = document.expires_at, document.embedding

    try:
        return record_answer(await storage.modify(DocumentModel, document.id, change))
    except NotFoundError:
        require_match(if_match, None)
        raise


@delete("/item")
async def delete_document(
    storage: InjectedStorage, collection: Collection, key: FromQuery[str], if_match: IfMatch = None
) -> None:
    """Delete the document of a key, if there is one."""
    if if_match is None:
        await storage.take_document(tuple(collection), key)
    else:
        await delete_if_it_matches(storage, await storage.get_document(tuple(collection), key), if_match)


async def _existing(storage: Storage, collection: list[str], key: str) -> DocumentModel:
    document = await storage.get_document(tuple(collection), key)
    if document is None:
        raise NotFoundError(f"document {key!r} in {collection!r}")
    return document


ROUTER = Router(
    "/documents",
    route_handlers=[
        *handlers_of_many(DocumentModel),
        search_documents,
        nearest_documents,
        show_document,
        put_document,
        delete_document,
    ],
    tags=["documents"],
)
