"""Finds the words of documents, as search compares them, and their tokens in an index."""

import re
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from typing import Any

from swarm_persistence.models.collections import collection_text
from swarm_persistence.schema.values import decode_json

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
