"""The verbs of documents: put, read, update, take, watch."""

from collections.abc import AsyncGenerator, Iterable, Sequence
from itertools import chain
from typing import Any

import msgspec

from swarm_persistence.clock import from_microseconds, now
from swarm_persistence.engines.following import BEFORE_ALL
from swarm_persistence.engines.reads import Get, Select
from swarm_persistence.engines.steps import Put, Step, Take
from swarm_persistence.models import DocumentModel
from swarm_persistence.models.collections import document_id
from swarm_persistence.query.collections import collection_argument, collections_below
from swarm_persistence.query.query import Condition, Order, Query, one_of
from swarm_persistence.schema.tables import DOCUMENTS
from swarm_persistence.schema.values import text
from swarm_persistence.storage.arguments import flag, several, texts
from swarm_persistence.storage.core import StorageCore
from swarm_persistence.storage.document_ranges import IS_UNEXPIRED, id_argument
from swarm_persistence.storage.rewriting import update
from swarm_persistence.storage.scopes import innermost_scope
from swarm_persistence.storage.watching import Watched


class PutCounts(msgspec.Struct, frozen=True):
    """The number of documents that `put_documents` has written or left."""

    added: int = 0
    replaced: int = 0
    kept: int = 0
    """Documents of `if_absent` that were stored already, and left as they are."""


_Written = Sequence[tuple[int, Any] | None]
"""The result of `Put`."""


class DocumentVerbs(StorageCore):
    """Documents: put, read, update, take, watch. Expired documents count as absent everywhere."""

    async def put_documents(
        self, documents: Iterable[DocumentModel], *, if_absent: Iterable[DocumentModel] = ()
    ) -> PutCounts:
        """Store documents in one atomic write, or replace those of the same collection and key; return the counts.

        A replaced document keeps its `created_at`, and its version is raised regardless of the copy's version;
        `update_document` compares versions. Those of `if_absent` are stored only if there is none of the same
        collection and key. Of several documents of the same collection and key, the last one is written. `version`,
        `created_at` and `updated_at` of each written document are updated in place.

        Raises:
            SerializationError: a field's value cannot be stored; nothing was written.

        """
        given = self._documents(documents, "documents")
        new = self._documents(if_absent, "if_absent")
        del documents, if_absent  # hundreds of puts may wait, and the garbage collector counts what they hold
        records = (*given, *new) if given and new else given or new
        if not records:
            return PutCounts()
        self._set_all(records, "updated_at", now())
        results: Sequence[_Written] = await self._executor().write(_steps_of(given, new))
        written = results[0] if len(results) == 1 else [*chain.from_iterable(results)]
        is_in_transaction = innermost_scope() is not None
        added = kept = 0
        for document, stored in zip(records, written, strict=True):
            if stored is None:
                kept += 1
                continue
            version, created_at = stored
            is_new = version == 1  # with its own created_at
            added += is_new
            if is_in_transaction:
                kept_time = document.created_at if is_new else from_microseconds(created_at)
                self._set_fields(document, version=version, created_at=kept_time)
            else:
                document.version = version
                if not is_new:
                    document.created_at = from_microseconds(created_at)
        return PutCounts(added, len(records) - added - kept, kept)

    async def update_document(self, document: DocumentModel, *, force: bool = False) -> None:
        """Replace the stored document by this one, and raise its `version`.

        Raises:
            NotFoundError: the collection has no document of this key.
            ConflictError: the stored document has changed since this copy was read (`force=True` overwrites it).
            SerializationError: a field's value cannot be stored; nothing was written.

        """
        self._require_model(DOCUMENTS, document)
        await update(self, DOCUMENTS, document, flag(force, "force"))

    async def get_document(self, collection: Sequence[str], key: str) -> DocumentModel | None:
        """Return the document of this key, or `None` if the collection has none."""
        executor = self._engine if innermost_scope() is None else self._executor()  # reads need no guard
        return await executor.read(Get(DOCUMENTS, id_argument(collection, key)))

    async def get_documents(self, collection: Sequence[str], keys: Iterable[str]) -> list[DocumentModel]:
        """Return the documents of these keys in the order of the keys; unknown keys are left out."""
        within = collection_argument(collection)
        ids = [document_id(within, key) for key in texts(keys, "keys")]
        if not ids:
            return []
        query = Query(DOCUMENTS, (one_of("id", ids), *IS_UNEXPIRED), (Order("id"),))
        found = {document.id: document for document in await self._executor().read(Select(query))}
        return [found[id] for id in ids if id in found]

    async def take_document(self, collection: Sequence[str], key: str) -> DocumentModel | None:
        """Remove the document of this key and return it; of concurrent callers, only one gets it."""
        is_it = Condition("id", "=", id_argument(collection, key))
        taken: list[DocumentModel] = await self._write_one(Take(Query(DOCUMENTS, (is_it, *IS_UNEXPIRED))))
        return taken[0] if taken else None

    def watch_documents(self, collection: Sequence[str], *, below: bool = False) -> AsyncGenerator[DocumentModel, None]:
        """Yield the documents of a collection, then each again whenever any process writes it; never ends by itself.

        Documents come in the order of their last writes. Writes between two polls are coalesced: only the latest
        version is yielded. A removed document is not yielded.

        Raises:
            TransactionError: called within a transaction, which does not see other commits.

        """
        self._require_no_transaction("watch_documents")
        within = collection_argument(collection)
        wanted = collections_below(within) if flag(below, "below") else (Condition("collection", "=", within),)
        query: Query[Any] = Query(DOCUMENTS, (*wanted, *IS_UNEXPIRED))
        return Watched(self._feeds, self._engine, query, BEFORE_ALL).records()

    def _documents(self, documents: Iterable[DocumentModel], name: str) -> Sequence[DocumentModel]:
        """Return the documents to write, without those that a later one replaces."""
        if documents == ():
            return ()
        records = several(documents, name, "a list of DocumentModel")
        for document in records:
            self._require_model(DOCUMENTS, document)
        if len(records) == 1:
            return (records[0],)  # the engine checks what makes up its id
        return [*{id_of(document): document for document in records}.values()]


def _steps_of(given: Sequence[DocumentModel], new: Sequence[DocumentModel]) -> Sequence[Step]:
    if not new:
        return (Put(given),)
    return (Put(given), Put(new, if_absent=True)) if given else (Put(new, if_absent=True),)


def id_of(document: DocumentModel) -> str:
    """Return the id that derives from the present collection and key of a document."""
    within = collection_argument(document.collection, "document.collection")
    return document_id(within, text(document.key, "document.key"))
