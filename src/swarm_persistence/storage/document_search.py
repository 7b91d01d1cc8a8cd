"""The verbs that search documents by words or embeddings; results are exact, as those of a full scan."""

import math
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import suppress
from operator import mul
from typing import Any

import msgspec

from swarm_persistence.engines.reads import Metric, NearestCandidates, Select, Values
from swarm_persistence.errors import DatabaseError, InvalidQueryError, shown
from swarm_persistence.models import DocumentModel
from swarm_persistence.query.builder import LARGEST_LIMIT, bound
from swarm_persistence.query.collections import collection_argument, collections_below
from swarm_persistence.query.query import Condition, Order, Query, one_of
from swarm_persistence.schema.tables import DOCUMENTS, SEQUENCE
from swarm_persistence.schema.values import numbers_of, text, vector
from swarm_persistence.storage.arguments import flag
from swarm_persistence.storage.document_indexes import DocumentIndexVerbs, may_have, words_in, words_of
from swarm_persistence.storage.document_ranges import IS_UNEXPIRED

_PAGE = 200
_SATURATION, _LENGTH_WEIGHT = 1.2, 0.75
"""BM25's usual constants, as in SQLite's FTS5."""


class FoundDocument(msgspec.Struct, frozen=True):
    """A document found by a search, and its score: higher is better."""

    document: DocumentModel
    score: float


class _Match(msgspec.Struct, frozen=True):
    id: str
    counts: tuple[int, ...]
    """How often each word of the query occurs in the document."""
    length: int


class DocumentSearchVerbs(DocumentIndexVerbs):
    """Search documents by words and by embeddings."""

    async def search_documents(
        self, query: str, collection: Sequence[str] = (), *, below: bool = True, limit: int | None = 10
    ) -> list[FoundDocument]:
        """Return the documents whose value has every word of the query, best match first; without a limit, all.

        Words are compared without regard to case, with those of all texts within `value` but the keys of objects.
        The score is BM25's among the documents that match; ties are in the order of collections and keys. Reads all
        documents, page by page, or only those that match if `index_documents` keeps an index of them.
        """
        words = tuple(dict.fromkeys(words_of(text(query, "query"))))
        most = LARGEST_LIMIT if limit is None else bound("limit", limit)
        if not words:
            return []
        matches: list[_Match] = []
        async for id, value in await self._candidates(words, collection, below):
            if not may_have(value, words):
                continue
            counted = Counter(words_in(value))
            if all(word in counted for word in words):
                matches.append(_Match(id, tuple([counted[word] for word in words]), counted.total()))
        score = _bm25(matches)
        return await self._found([(score(match), match.id) for match in matches], most)

    async def nearest_documents(
        self,
        embedding: Iterable[float],
        collection: Sequence[str] = (),
        *,
        below: bool = True,
        limit: int | None = 10,
        metric: Metric = "cosine",
    ) -> list[FoundDocument]:
        """Return the documents whose embeddings are the nearest to this one, best match first; without a limit, all.

        The score is the cosine of both, their dot product (`metric="dot"`), or their distance, negated
        (`metric="euclidean"`). Documents without an embedding are not found, nor by cosine those whose embedding is all
        zeros. Compares all of these documents, page by page, or within the database where it has vector functions.

        Raises:
            InvalidQueryError: a document's embedding has another number of dimensions; or by cosine, the given one has
                no direction: all of its numbers are 0.

        """
        given = vector([*embedding] if isinstance(embedding, Iterable) else embedding, "embedding")
        wanted = numbers_of(given)
        most = LARGEST_LIMIT if limit is None else bound("limit", limit)
        score = _score_of(metric, wanted)
        scores: list[tuple[float, str]] = []
        has_one = Condition("embedding", "IS NOT NULL")
        within = _is_within(collection_argument(collection), below)
        query: Query[Any] = Query(DOCUMENTS, (*within, has_one, *IS_UNEXPIRED))
        ids = await self._executor().read(NearestCandidates(query, "embedding", given, metric, most))
        embeddings = (
            self._scan("embedding", *within, has_one) if ids is None else self._chosen("id", ids, "embedding", has_one)
        )
        async for id, data in embeddings:
            numbers = numbers_of(data)
            if len(numbers) != len(wanted):
                raise InvalidQueryError(
                    f"embedding has {len(wanted)} dimensions, expected {len(numbers)} as document {shown(id)} has"
                )
            found = score(numbers)
            if found is not None:
                scores.append((found, id))
        return await self._found(scores, most)

    async def _candidates(
        self, words: tuple[str, ...], collection: Sequence[str], below: bool
    ) -> AsyncIterator[tuple[str, Any]]:
        """Return the id and the value of each document that may have all words."""
        within = collection_argument(collection)
        index = await self._index_over(within)
        if index is None:
            return self._scan("value", *_is_within(within, below))
        # The search is complete all the same where nothing may be written, as at a standby: it reads what is new.
        with suppress(DatabaseError):
            index = await self._bring_up_to_date(index)
        query: Query[Any] = Query(DOCUMENTS, (*_is_within(within, below), *IS_UNEXPIRED))
        sequences = await self._matching(index, query, words, within)
        return self._chosen(SEQUENCE, sequences, "value", *_is_within(within, below))

    async def _scan(self, column: str, *conditions: Condition) -> AsyncIterator[tuple[str, Any]]:
        """Yield the id and a column of each document, in the order of ids."""
        chosen = (*conditions, *IS_UNEXPIRED)
        async for rows in self._pages(chosen, _PAGE, lambda query: Values(query, ("id", column))):
            for id, value in rows:
                yield id, value

    async def _chosen(
        self, field: str, values: Sequence[Any], column: str, *conditions: Condition
    ) -> AsyncIterator[tuple[str, Any]]:
        """Yield the id and a column of each document whose field has one of these values."""
        for start in range(0, len(values), _PAGE):
            chosen = (one_of(field, values[start : start + _PAGE]), *conditions, *IS_UNEXPIRED)
            rows: list[Any] = await self._executor().read(Values(Query(DOCUMENTS, chosen), ("id", column)))
            for id, value in rows:
                yield id, value

    async def _found(self, scores: list[tuple[float, str]], most: int) -> list[FoundDocument]:
        best = sorted(scores, key=lambda each: (-each[0], each[1]))[:most]
        if not best:
            return []
        query = Query(DOCUMENTS, (one_of("id", [id for _, id in best]), *IS_UNEXPIRED), (Order("id"),))
        stored = {document.id: document for document in await self._executor().read(Select(query))}
        return [FoundDocument(stored[id], score) for score, id in best if id in stored]


def _is_within(collection: str, below: bool) -> tuple[Condition, ...]:
    return collections_below(collection) if flag(below, "below") else (Condition("collection", "=", collection),)


def _score_of(metric: object, wanted: Sequence[float]) -> Callable[[Sequence[float]], float | None]:
    """Return the function that scores an embedding of the same dimension, `None` if it has no score."""
    match metric:
        case "dot":
            return lambda numbers: sum(map(mul, wanted, numbers))
        case "euclidean":
            return lambda numbers: -math.dist(wanted, numbers)
        case "cosine":
            length = math.hypot(*wanted)
            if not length:
                raise InvalidQueryError(f"embedding is {shown(wanted)}, expected one that has a direction")

            def cosine(numbers: Sequence[float]) -> float | None:
                other = math.hypot(*numbers)
                return sum(map(mul, wanted, numbers)) / (length * other) if other else None

            return cosine
    raise InvalidQueryError(f"metric is {shown(metric)}, expected 'cosine', 'dot' or 'euclidean'")


def _bm25(matches: Sequence[_Match]) -> Callable[[_Match], float]:
    """Return the function that scores a match, higher for frequent words and short documents.

    All matches have all words, so none is rarer among them. Other documents do not matter, so an index that reads only
    the matches ranks as a scan does.
    """
    average = sum(match.length for match in matches) / len(matches) if matches else 0.0

    def score(match: _Match) -> float:
        norm = _SATURATION * (1 - _LENGTH_WEIGHT + _LENGTH_WEIGHT * match.length / average)
        return sum(count * (_SATURATION + 1) / (count + norm) for count in match.counts)

    return score
