"""Stores the JSON of a framework in documents, whatever texts it contains."""

import json
from typing import Any, TypedDict

from swarm_persistence.models import DocumentModel


class Content(TypedDict, total=False):
    """The fields of a document that hold a value."""

    value: Any
    data: bytes


def content_of(value: Any) -> Content:
    """Return the fields that keep a value as `json.dumps` writes it: as JSON, or as bytes where JSON would refuse it.

    What a model has said may hold half a surrogate pair, where a program has cut a text, and tools may return NaN.
    Neither is JSON in UTF-8; `json.dumps` escapes the one, and has a word of its own for the other.
    """
    text = json.dumps(value)
    plain = json.loads(text)
    try:
        json.dumps(plain, ensure_ascii=False, allow_nan=False).encode()
    except ValueError:
        return {"data": text.encode()}
    return {"value": plain}


def value_of(document: DocumentModel) -> Any:
    """Return the value that `content_of` has put into a document."""
    return document.value if document.data is None else json.loads(document.data)
