"""Searches LangGraph's store, and returns the best items first."""

import math
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from heapq import nlargest
from typing import TYPE_CHECKING, TypeAlias

from swarm_persistence import DocumentModel, InvalidQueryError, QueryBuilder, Storage
from swarm_persistence.contrib.langgraph.filters import comparisons, matcher
from swarm_persistence.contrib.langgraph.items import ROOT, SEVERAL_VECTORS, similarity

if TYPE_CHECKING:
    from langgraph.store.base import SearchOp

Ranked: TypeAlias = tuple[DocumentModel, float | None]
_PAGE = 1000
_CANDIDATES = 10
"""With a filter: how many of the best items are tried per requested one, before all items are."""
_GROWTH = 5
"""The factor by which the number of items tried grows, up to a page, while the filter rejects too many."""
_UNSCORED = -math.inf


class ItemSearch:
    """One search; `vector` is the embedding of its query, `None` if the store has none.

    Items that the query does not find come last, without a score. All items below the prefix are read only if those
    that the storage finds by itself are too few.
    """

    def __init__(self, storage: Storage, op: "SearchOp", vector: Sequence[float] | None) -> None:
        self._storage = storage
        self._documents = storage.repository(DocumentModel)
        self._op = op
        self._vector = vector
        self._collection = (ROOT, *op.namespace_prefix)
        self._most = op.offset + op.limit
        self._matches = matcher(op.filter)
        told = comparisons(op.filter)
        self._comparisons = [each for each in told if each is not None]
        self._is_filtered_by_storage = len(told) == len(self._comparisons)

    async def results(self) -> list[Ranked]:
        """Return the items of the search's page, with their scores."""
        tried = self._most * _CANDIDATES if self._op.filter else self._most
        if not self._op.query:
            tried = self._most if self._is_filtered_by_storage else tried
            found = await self._latest(tried)
            while len(found) == tried < _PAGE and len(self._chosen(found)) < self._most:
                tried = min(tried * _GROWTH, _PAGE)
                found = await self._latest(tried)
        elif self._vector is None:
            found = await self._with_words(None if self._op.filter else tried)
        else:
            found = await self._nearest(self._vector, tried)
        best = self._chosen(found)[: self._most]
        if len(best) < self._most and (self._op.query or len(found) == tried):
            best = await self._best_of_all(dict(_scores(found)))
        return best[self._op.offset :]

    def _chosen(self, found: list[Ranked]) -> list[Ranked]:
        return [each for each in found if self._matches(each[0].value)]

    async def _latest(self, limit: int) -> list[Ranked]:
        latest = self._below().order_by("updated_at", desc=True).order_by("id").limit(limit)
        return [(document, None) for document in await self._documents.query(latest)]

    async def _with_words(self, limit: int | None) -> list[Ranked]:
        found = await self._storage.search_documents(self._op.query or "", self._collection, limit=limit)
        return [(each.document, each.score) for each in found]

    async def _nearest(self, vector: Sequence[float], limit: int) -> list[Ranked]:
        several = await self._documents.query(self._items().where_in("label", SEVERAL_VECTORS).limit(1))
        if several or not any(vector):  # without a direction, all items are equally near
            return []
        try:
            nearest = await self._storage.nearest_documents(vector, self._collection, limit=limit)
        except InvalidQueryError:  # some items have the vectors of another model: compare those that can be
            return []
        return [(each.document, each.score) for each in nearest]

    async def _best_of_all(self, scores: dict[str, float]) -> list[Ranked]:
        best: list[Ranked] = []
        async for page in self._pages():
            chosen = [each for each in page if self._matches(each.value)]
            if self._vector is None:
                ranked: list[Ranked] = [(each, scores.get(each.id)) for each in chosen]
            else:
                ranked = [(each, similarity(each, self._vector)) for each in chosen]
            best = nlargest(self._most, best + ranked, key=_rank)
        return best

    async def _pages(self) -> AsyncIterator[list[DocumentModel]]:
        page = await self._documents.query(self._below().order_by("id").limit(_PAGE))
        while page:
            yield page
            rest = self._below(page[-1].id).order_by("id").limit(_PAGE)
            page = await self._documents.query(rest) if len(page) == _PAGE else []

    def _below(self, after: str | None = None) -> QueryBuilder[DocumentModel]:
        query = self._items(after)
        for path, operator, value in self._comparisons:
            query = query.where_json("value", path, operator, value)
        return query

    def _items(self, after: str | None = None) -> QueryBuilder[DocumentModel]:
        query = QueryBuilder(DocumentModel).where_collection(self._collection, below=True)
        return query if after is None else query.where_gt("id", after)


def _scores(found: list[Ranked]) -> list[tuple[str, float]]:
    return [(document.id, score) for document, score in found if score is not None]


def _rank(found: Ranked) -> tuple[float, datetime]:
    document, score = found
    return (_UNSCORED if score is None else score), document.updated_at
