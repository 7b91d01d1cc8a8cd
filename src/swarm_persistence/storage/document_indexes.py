"""The verbs for indexes of documents' words, on engines that have them, and what a search needs of an index."""

import asyncio
import re
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

from swarm_persistence.engines.following import spans_of
from swarm_persistence.engines.interface import FeedPosition
from swarm_persistence.engines.reads import Values, WordIndexes, WordMatches
from swarm_persistence.engines.steps import IndexWords, KeepWordIndex
from swarm_persistence.models.collections import collection_of, collection_text
from swarm_persistence.query.collections import collection_argument, collections_below
from swarm_persistence.query.query import Condition, Order, Query
from swarm_persistence.schema.tables import CHANGE_NUMBER, DOCUMENTS, SEQUENCE
from swarm_persistence.schema.values import LARGEST_INTEGER, decode_json
from swarm_persistence.storage.document_lists import DocumentListVerbs

_PAGE = 100
"""Documents indexed per write."""


class WordIndex(NamedTuple):
    """An index of words: its collection, as text, and the position up to which it is complete."""

    collection: str
    position: FeedPosition

    @property
    def since(self) -> int:
        """The change number after which changes may be missing in the index."""
        return self.position.number - (self.position.sequence < LARGEST_INTEGER)


class DocumentIndexVerbs(DocumentListVerbs):
    """Indexes of words of documents."""

    async def index_documents(self, collection: Sequence[str] = ()) -> None:
        """Create an index of the words of a collection and of all below it, or bring it up to date.

        A search there reads only the documents that match. Writes get no slower: each search indexes what was
        changed since the last one. Without an index, and in memory and in a browser, a search reads all documents.

        Raises:
            TransactionError: called within a transaction.

        """
        self._require_no_transaction("index_documents")
        within = collection_argument(collection)
        index = await self._index_over(within)
        if index is None:
            await self._write_one(KeepWordIndex(within))
            index = await self._index_over(within)
        if index is not None:
            await self._bring_up_to_date(index)

    async def unindex_documents(self, collection: Sequence[str] = ()) -> None:
        """Drop the word index of a collection, if it has one of its own.

        Raises:
            TransactionError: called within a transaction.

        """
        self._require_no_transaction("unindex_documents")
        within = collection_argument(collection)
        index = await self._index_over(within)
        if index is None or index.collection != within:
            return
        await self._write_one(KeepWordIndex(within, is_kept=False))
        if await self._index_over(within) is None:
            conditions = collections_below(within, "collection")
            above: tuple[Condition, ...] = ()
            while rows := await self._sequences((*conditions, *above)):
                await self._write_one(IndexWords([(sequence, ()) for sequence in rows]))
                above = (Condition(SEQUENCE, ">", rows[-1]),)

    async def _index_over(self, collection: str) -> WordIndex | None:
        """Return the index that covers a collection and all below it, if there is one."""
        for text, number, sequence in await self._executor().read(WordIndexes()):
            if collection.startswith(text):
                return WordIndex(text, FeedPosition(number, sequence))
        return None

    async def _matching(self, index: WordIndex, query: Query[Any], words: Sequence[str], within: str) -> list[int]:
        """Return the sequences of a query's documents that may have all words, in a collection or below."""
        tokens = tuple(token_of(word) for word in words)
        places = (place_of(within),) if within else ()
        return await self._executor().read(WordMatches(query, (*tokens, *places), index.since))

    async def _bring_up_to_date(self, index: WordIndex) -> WordIndex:
        """Index the documents that have changed, and return the updated index.

        Within a transaction, the index is left as it is, so that it never covers uncommitted documents.
        """
        if self._scope() is not None:
            return index
        none: Query[Any] = Query(DOCUMENTS, (Condition("id", "IN", ()),))
        upto = (await self._engine.follow(none, index.position, 1)).position
        while index.position < upto:
            rows, position = await self._changed(index, upto)
            words = [
                (sequence, tokens_of(words_in(value), collection_of(collection)))
                for collection, value, _, sequence in rows
            ]
            step = IndexWords(words, index.collection, index.position, position)
            if not await self._write_one(step):
                current = await self._index_over(index.collection)
                return index if current is None else current
            index = index._replace(position=position)
            await asyncio.sleep(0)  # words are found in the loop's own thread
        return index

    async def _changed(self, index: WordIndex, upto: FeedPosition) -> tuple[list[Any], FeedPosition]:
        """Return the next documents to index, and the position after them."""
        within = collections_below(index.collection)
        rows: list[Any] = []
        for span in spans_of(DOCUMENTS, index.position, upto):
            query: Query[Any] = Query(DOCUMENTS, (*within, *span), (Order(CHANGE_NUMBER),), _PAGE - len(rows))
            rows += await self._engine.read(Values(query, ("collection", "value", CHANGE_NUMBER, SEQUENCE)))
            if len(rows) == _PAGE:
                return rows, FeedPosition(*rows[-1][2:])
        return rows, upto

    async def _sequences(self, conditions: tuple[Condition, ...]) -> list[int]:
        query: Query[Any] = Query(DOCUMENTS, conditions, (Order(SEQUENCE),), _PAGE)
        rows: list[Any] = await self._executor().read(Values(query, (SEQUENCE,)))
        return [row[0] for row in rows]


_WORD = re.compile(r"\w+")
_LONGEST = 64
"""The most characters of a word that is indexed as it is; PostgreSQL's indexes refuse long ones."""


def words_of(each: str) -> list[str]:
    """Return the words of a text, without regard to case."""
    return _WORD.findall(each.casefold())


def words_in(value: Any) -> Iterator[str]:
    """Yield the words of all texts within a stored JSON value."""
    for each in _texts_in(decode_json(value)):
        yield from words_of(each)


def may_have(value: str, words: Iterable[str]) -> bool:
    """Tell whether a stored JSON value may have all words; far cheaper than finding its words."""
    folded = value.casefold()
    # A character of a word may be escaped in JSON that another program has written.
    return "\\u" in folded or all(word in folded for word in words)


def tokens_of(words: Iterable[str], collection: tuple[str, ...]) -> tuple[str, ...]:
    """Return the tokens of a document's words, and of the collections that it lies in or below."""
    places = (place_of(collection_text(collection[:parts])) for parts in range(1, len(collection) + 1))
    return (*dict.fromkeys(token_of(word) for word in words), *places)


def token_of(word: str) -> str:
    """Return the token of a word: the word, or a digest of a long one. Different words may have one token."""
    return word if len(word) <= _LONGEST else _digest("_w", word)


def place_of(collection: str) -> str:
    """Return the token of all documents at and below a collection."""
    return _digest("_c", collection)


def _digest(prefix: str, value: str) -> str:
    return prefix + blake2b(value.encode(), digest_size=12).hexdigest()


def _texts_in(value: Any) -> Iterator[str]:
    """Yield the texts within a JSON value, without recursion: it may be nested deeply."""
    left = [value]
    while left:
        each = left.pop()
        if isinstance(each, str):
            yield each
        elif isinstance(each, list):
            left += each
        elif isinstance(each, dict):
            left += each.values()
