"""The verbs that find documents by their words, and by their embeddings: exact, by a scan of what is searched."""

import asyncio
import math
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from operator import mul
from typing import Any

import msgspec

from swarm_persistence.engines.reads import Select, Values
from swarm_persistence.errors import InvalidQueryError, shown
from swarm_persistence.models import DocumentModel
from swarm_persistence.query.builder import bound
from swarm_persistence.query.query import Condition, Order, Query, one_of
from swarm_persistence.schema.tables import DOCUMENTS
from swarm_persistence.schema.values import decode_json, numbers_of, text, vector
from swarm_persistence.storage.arguments import flag
from swarm_persistence.storage.document_lists import DocumentListVerbs
from swarm_persistence.storage.document_ranges import IS_UNEXPIRED, collection_argument, collections_below

_PAGE = 200
_WORD = re.compile(r"\w+")
_SATURATION, _LENGTH_WEIGHT = 1.2, 0.75
"""BM25's usual constants, as in SQLite's FTS5."""


class FoundDocument(msgspec.Struct, frozen=True):
    """A document that a search has found, and how well it fits: a higher score fits better."""

    document: DocumentModel
    score: float


class _Match(msgspec.Struct, frozen=True):
    id: str
    counts: tuple[int, ...]
    """How often the document has each word of the query."""
    length: int


class DocumentSearchVerbs(DocumentListVerbs):
    """Search documents by words and by embeddings."""

    async def search_documents(
        self, query: str, collection: Sequence[str] = (), *, below: bool = True, limit: int = 10
    ) -> list[FoundDocument]:
        """Return the documents whose value has every word of the query, best match first.

        The words are those of all texts within `value`, without regard to case; keys of objects are none. The score is
        BM25's among the documents that are searched; ties are in the order of collections and keys. Reads all of these
        documents, page by page.
        """
        words = tuple(dict.fromkeys(_words_of(text(query, "query"))))
        most = bound("limit", limit)
        matches: list[_Match] = []
        searched = total = 0
        async for id, value in self._scan(collection, below, "value"):
            counted = Counter(word for each in _texts_in(decode_json(value)) for word in _words_of(each))
            searched += 1
            total += counted.total()
            if words and all(word in counted for word in words):
                matches.append(_Match(id, tuple([counted[word] for word in words]), counted.total()))
        score = _bm25(searched, total, len(matches))
        return await self._found([(score(match), match.id) for match in matches], most)

    async def nearest_documents(
        self, embedding: Iterable[float], collection: Sequence[str] = (), *, below: bool = True, limit: int = 10
    ) -> list[FoundDocument]:
        """Return the documents whose embeddings are the most similar to this one, best match first.

        The score is the cosine of both. Documents without an embedding, or with one of another length, are not found.
        Compares with all of these documents, page by page.

        Raises:
            InvalidQueryError: the embedding has no direction: all of its numbers are 0.

        """
        wanted = numbers_of(vector([*embedding] if isinstance(embedding, Iterable) else embedding, "embedding"))
        most = bound("limit", limit)
        length = math.hypot(*wanted)
        if not length:
            raise InvalidQueryError(f"embedding is {shown(wanted)}, expected one that has a direction")
        scores: list[tuple[float, str]] = []
        has_one = Condition("embedding", "IS NOT NULL")
        async for id, data in self._scan(collection, below, "embedding", has_one):
            numbers = numbers_of(data)
            other = math.hypot(*numbers)
            if len(numbers) == len(wanted) and other:
                scores.append((sum(map(mul, wanted, numbers)) / (length * other), id))
        return await self._found(scores, most)

    async def _scan(
        self, collection: Sequence[str], below: bool, field: str, *conditions: Condition
    ) -> AsyncIterator[tuple[str, Any]]:
        """Yield the id and a column of each document, in the order of ids."""
        within = collection_argument(collection)
        is_within = collections_below(within) if flag(below, "below") else (Condition("collection", "=", within),)
        above: tuple[Condition, ...] = ()
        while True:
            others = tuple(each for each in is_within if not (above and each.operator == ">="))
            query: Query[Any] = Query(
                DOCUMENTS, (*others, *above, *conditions, *IS_UNEXPIRED), (Order("id"),), limit=_PAGE
            )
            rows: list[Any] = await self._executor().read(Values(query, ("id", field)))
            for id, value in rows:
                yield id, value
            if len(rows) < _PAGE:
                return
            above = (Condition("id", ">", rows[-1][0]),)
            await asyncio.sleep(0)  # in memory, nothing else yields to other tasks

    async def _found(self, scores: list[tuple[float, str]], most: int) -> list[FoundDocument]:
        best = sorted(scores, key=lambda each: (-each[0], each[1]))[:most]
        if not best:
            return []
        query = Query(DOCUMENTS, (one_of("id", [id for _, id in best]), *IS_UNEXPIRED), (Order("id"),))
        stored = {document.id: document for document in await self._executor().read(Select(query))}
        return [FoundDocument(stored[id], score) for score, id in best if id in stored]


def _words_of(each: str) -> list[str]:
    return _WORD.findall(each.casefold())


def _texts_in(value: Any) -> Iterator[str]:
    """Yield the texts within a JSON value; what is nested as deep as JSON may be takes no stack."""
    left = [value]
    while left:
        each = left.pop()
        if isinstance(each, str):
            yield each
        elif isinstance(each, list):
            left += each
        elif isinstance(each, dict):
            left += each.values()


def _bm25(searched: int, total: int, matching: int) -> Callable[[_Match], float]:
    """Return the function that scores a match: frequent words count more, in short documents most.

    All matches have all words, so the rarity of each word among them is one factor.
    """
    rarity = math.log(1 + (searched - matching + 0.5) / (matching + 0.5))
    average = total / searched if searched else 0.0

    def score(match: _Match) -> float:
        norm = _SATURATION * (1 - _LENGTH_WEIGHT + _LENGTH_WEIGHT * match.length / average)
        return sum(rarity * count * (_SATURATION + 1) / (count + norm) for count in match.counts)

    return score
