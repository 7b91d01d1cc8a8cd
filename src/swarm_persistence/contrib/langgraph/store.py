"""LangGraph's long-term store over documents; needs `pip install "swarm-persistence[langgraph]"`.

An item is a document of the collection `("langgraph.store", *namespace)`.
"""

from asyncio import gather
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from datetime import timedelta
from functools import partial
from itertools import takewhile
from typing import Any, TypeAlias

from swarm_persistence import BlockingStorage, DocumentModel, QueryBuilder, Storage, timedelta_of
from swarm_persistence.contrib.blocking_form import blocking_form, blocking_of
from swarm_persistence.contrib.langgraph.filters import matches_namespace
from swarm_persistence.contrib.langgraph.items import EXPIRING, ROOT, Expiry, document_of, parts_of
from swarm_persistence.contrib.langgraph.searching import ItemSearch

try:
    from langgraph.store.base import (
        BaseStore,
        GetOp,
        IndexConfig,
        Item,
        ListNamespacesOp,
        MatchCondition,
        Op,
        PutOp,
        Result,
        SearchItem,
        SearchOp,
        TTLConfig,
        ensure_embeddings,
        get_text_at_path,
        tokenize_path,
        validate_op_namespace,
    )
except ImportError as error:
    raise ImportError('SwarmStore needs LangGraph: pip install "swarm-persistence[langgraph]"') from error

_Vectors: TypeAlias = dict[str, list[float]]


class SwarmStore(BaseStore):
    """Keeps what LangGraph's agents remember in a storage: `builder.compile(store=SwarmStore(storage))`.

    With `index`, a search compares embeddings; without, it counts the words of the query. Either way, items that the
    query does not find come last, without a score. Expired items are never read, whatever the sweep settings of `ttl`
    are.
    """

    supports_ttl = True

    def __init__(
        self,
        storage: Storage | BlockingStorage,
        *,
        index: IndexConfig | None = None,
        ttl: TTLConfig | None = None,
    ) -> None:
        self.blocking = blocking_of(storage)
        self._storage = self.blocking.storage
        self.ttl_config = ttl
        self.index_config = index
        self.embeddings = ensure_embeddings(index.get("embed")) if index else None
        self._fields = _tokenized((index.get("fields") if index else None) or ["$"])

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """Answer operations: first all reads, then all writes as one; of several writes of a key, the last one."""
        checked = _checked(ops)
        queries: _Vectors = {}
        vectors: _Vectors = {}
        if self.embeddings is not None:
            queries = {query: self.embeddings.embed_query(query) for query in _queries(checked)}
            if texts := self._texts(checked):
                vectors = dict(zip(texts, self.embeddings.embed_documents(texts), strict=True))
        return self.blocking.run(self._answer(checked, queries, vectors))

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        """Answer operations: first all reads, then all writes as one; of several writes of a key, the last one."""
        checked = _checked(ops)
        queries: _Vectors = {}
        vectors: _Vectors = {}
        if self.embeddings is not None:
            queries = {query: await self.embeddings.aembed_query(query) for query in _queries(checked)}
            if texts := self._texts(checked):
                vectors = dict(zip(texts, await self.embeddings.aembed_documents(texts), strict=True))
        return await self._answer(checked, queries, vectors)

    async def asweep_ttl(self) -> int:
        """Delete the storage's documents that have expired, which frees their space, and return how many."""
        pruned = await self._storage.prune(0, tasks=False, events=False, messages=False, metrics=False)
        return pruned.documents

    sweep_ttl = blocking_form(asweep_ttl)

    async def _answer(self, ops: list[Op], queries: _Vectors, vectors: _Vectors) -> list[Result]:
        ids = sorted({_id_of(op) for op in ops if isinstance(op, GetOp)})
        reads = [self._found(op, queries) for op in ops if isinstance(op, SearchOp | ListNamespacesOp)]
        answers = await _together([self._documents(ids), *reads] if ids else reads)
        items: dict[str, DocumentModel] = answers.pop(0) if ids else {}
        answer = iter(answers)
        results: list[Result] = []
        used: list[DocumentModel] = []
        for op in ops:
            if isinstance(op, GetOp):
                document = items.get(_id_of(op))
                results.append(Item(**parts_of(document)) if document else None)
                used += [document] if document and op.refresh_ttl else []
            elif isinstance(op, SearchOp):
                found = next(answer)
                results.append([SearchItem(**parts_of(each), score=score) for each, score in found])
                used += [each for each, _ in found] if op.refresh_ttl else []
            else:
                results.append(next(answer) if isinstance(op, ListNamespacesOp) else None)
        await self._write(_last_puts(ops), used, vectors)
        return results

    async def _found(self, op: SearchOp | ListNamespacesOp, queries: _Vectors) -> Any:
        if isinstance(op, ListNamespacesOp):
            return await self._namespaces(op)
        return await ItemSearch(self._storage, op, queries.get(op.query) if op.query else None).results()

    async def _documents(self, ids: list[str]) -> dict[str, DocumentModel]:
        repository = self._storage.repository(DocumentModel)
        if len(ids) == 1:  # has a faster path
            only = await repository.find_by_id(ids[0])
            return {only.id: only} if only else {}
        found = await repository.query(QueryBuilder(DocumentModel).where_in("id", ids)) if ids else []
        return {document.id: document for document in found}

    async def _namespaces(self, op: ListNamespacesOp) -> list[tuple[str, ...]]:
        conditions = op.match_conditions or ()
        known = max((_known_labels(each) for each in conditions if each.match_type == "prefix"), key=len, default=())
        found = [each[1:] for each in await self._storage.list_collections((ROOT, *known))]
        wanted = [each for each in found if all(matches_namespace(each, *condition) for condition in conditions)]
        distinct = dict.fromkeys(each[: op.max_depth] for each in wanted)
        return [*distinct][op.offset : op.offset + op.limit]

    async def _write(self, puts: list[PutOp], used: list[DocumentModel], vectors: _Vectors) -> None:
        writes: list[Callable[[], Awaitable[object]]] = []
        keys: dict[tuple[tuple[str, ...], float, str | None], set[str]] = defaultdict(set)
        for document in used:
            if document.data is not None:
                label = document.label if document.label in EXPIRING else None
                keys[document.collection, Expiry.of(document).minutes, label].add(document.key)
        for (collection, minutes, label), touched in keys.items():
            touch = partial(self._storage.touch_documents, collection, keys=touched, label=label)
            writes.append(partial(touch, expires_at=timedelta(minutes=minutes)))
        deleted: dict[tuple[str, ...], list[str]] = defaultdict(list)
        for op in puts:
            if op.value is None:
                deleted[(ROOT, *op.namespace)].append(op.key)
        for collection, gone in deleted.items():
            writes.append(partial(self._storage.delete_documents, collection, keys=gone))
        if documents := [self._document(op, vectors) for op in puts if op.value is not None]:
            writes.append(partial(self._storage.put_documents, documents))
        if len(writes) == 1:
            await writes[0]()
        elif writes:
            async with self._storage.transaction():
                for write in writes:
                    await write()

    def _document(self, op: PutOp, vectors: _Vectors) -> DocumentModel:
        vectors_of_item = [self._sized(vectors[text]) for text in self._texts_of(op)]
        return document_of(op.namespace, op.key, op.value or {}, vectors_of_item, op.ttl)

    def _texts(self, ops: list[Op]) -> list[str]:
        """Return the texts to embed, each once."""
        return [*dict.fromkeys(text for op in _last_puts(ops) for text in self._texts_of(op))]

    def _texts_of(self, op: PutOp) -> list[str]:
        if self.embeddings is None or op.value is None or op.index is False:
            return []
        fields = self._fields if op.index is None else _tokenized(op.index)
        return [text for field in fields for text in get_text_at_path(op.value, field)]

    def _sized(self, vector: list[float]) -> list[float]:
        dims = self.index_config["dims"] if self.index_config else 0
        if len(vector) != dims:
            raise ValueError(f"the embedding of a text has {len(vector)} numbers, expected dims, {dims}")
        return vector


async def _together(reads: Sequence[Coroutine[Any, Any, Any]]) -> list[Any]:
    """Run reads concurrently, so that the storage may share one snapshot; raise the first error."""
    if len(reads) == 1:
        return [await reads[0]]
    results = await gather(*reads, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results


def _checked(ops: Iterable[Op]) -> list[Op]:
    checked = [*ops]
    for op in checked:
        if not isinstance(op, GetOp | SearchOp | ListNamespacesOp | PutOp):
            raise TypeError(f"an operation is {op!r}, expected a GetOp, SearchOp, ListNamespacesOp or PutOp")
        validate_op_namespace(op)
        if isinstance(op, SearchOp | ListNamespacesOp):
            QueryBuilder(DocumentModel).limit(op.limit).offset(op.offset)  # refuses an invalid number of items
        elif isinstance(op, PutOp) and op.ttl is not None:
            timedelta_of(op.ttl, "ttl", unit="minutes")
    return checked


def _queries(ops: list[Op]) -> list[str]:
    return [*dict.fromkeys(op.query for op in ops if isinstance(op, SearchOp) and op.query)]


def _last_puts(ops: list[Op]) -> list[PutOp]:
    return [*{(op.namespace, op.key): op for op in ops if isinstance(op, PutOp)}.values()]


def _tokenized(paths: Sequence[str]) -> list[Any]:
    return [path if path == "$" else tokenize_path(path) for path in paths]


def _id_of(op: GetOp) -> str:
    return DocumentModel.id_of((ROOT, *op.namespace), op.key)


def _known_labels(condition: MatchCondition) -> tuple[str, ...]:
    """Return the labels before the first one that may be any."""
    return tuple(takewhile(lambda label: label != "*", condition.path))
