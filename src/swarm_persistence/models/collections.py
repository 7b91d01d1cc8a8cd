"""Keeps a collection, a path of texts, as one text that sorts as the path does, and derives a document's id from it.

`("memories", "agent-1")` is kept as `memories!agent-1!`: what lies below it begins with the same text. The id of its
document `note` is `memories!agent-1! note`. No part contains `!` or a character below it: those are escaped.
"""

import re
from functools import lru_cache

END_OF_PART = "!"
_BEFORE_KEY = " "
_ESCAPE = '"'
_OFFSET = 0x40
"""Added to the code point of an escaped character, which keeps the order and stays above the end of a part."""
_MUST_BE_ESCAPED = re.compile('[\1-"]')
_ESCAPED = re.compile('"(.)', re.DOTALL)


@lru_cache(maxsize=4096)
def collection_text(parts: tuple[str, ...]) -> str:
    """Return the text of a collection, which sorts as the tuple of its parts."""
    return "".join([_MUST_BE_ESCAPED.sub(_escaped, part) + END_OF_PART for part in parts])


@lru_cache(maxsize=4096)
def collection_of(text: str) -> tuple[str, ...]:
    """Return the collection that a text was made of."""
    *parts, rest = text.split(END_OF_PART)
    if rest:
        raise ValueError(f"{text!r} is not the text of a collection")
    return tuple([_ESCAPED.sub(_unescaped, part) if _ESCAPE in part else part for part in parts])


def document_id(collection: str, key: str) -> str:
    """Return the id of a document, given its collection as text and its key; ids sort by collection, then by key."""
    return f"{collection}{_BEFORE_KEY}{key}"


def ids_of_keys(collection: str) -> tuple[str, str]:
    """Return the bounds of the ids of a collection's own documents, the upper one exclusive."""
    return collection + _BEFORE_KEY, collection + END_OF_PART


def texts_below(collection: str) -> tuple[str, str] | None:
    """Return the bounds of the texts, and of the ids, of a collection and of all below it.

    The upper one is exclusive. The collection without parts contains all others, and has no bounds.
    """
    return (collection, collection[:-1] + _ESCAPE) if collection else None


def _escaped(found: re.Match[str]) -> str:
    return _ESCAPE + chr(ord(found[0]) + _OFFSET)


def _unescaped(found: re.Match[str]) -> str:
    return chr(ord(found[1]) - _OFFSET)
