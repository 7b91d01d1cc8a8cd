"""Stores the JSON of a framework in documents, whatever texts it contains.

A model's output may hold half of a surrogate pair, where a program has cut a text, and tools may return NaN. Neither is
valid in UTF-8 JSON; `json.dumps` escapes the one, and writes the other as `NaN`.
"""

import json
import sys
from typing import Any, TypedDict, cast

from swarm_persistence import DocumentModel

LARGEST_EXACT = 2**sys.float_info.mant_dig
"""Below it, a double has every whole number: Python and `QueryBuilder.where_json` compare numbers alike."""


class Content(TypedDict, total=False):
    """The fields of a document that hold a value."""

    value: Any
    data: bytes


def content_of(value: Any) -> Content:
    """Return the fields that keep a value as `json.dumps` writes it: as JSON, or as bytes if it is not valid JSON."""
    return content_of_plain(json.loads(json.dumps(value)))


def content_of_plain(value: Any) -> Content:
    """Return the fields that keep a value that consists of what `json.loads` returns."""
    return {"value": value} if is_json(value) else {"data": json.dumps(value).encode()}


def value_of(document: DocumentModel) -> Any:
    """Return the value that `content_of` has put into a document."""
    return document.value if document.data is None else json.loads(document.data)


def has_content(document: DocumentModel, content: Content) -> bool:
    """Return whether a document keeps the same value."""
    return (document.value, document.data) == (content.get("value"), content.get("data"))


def replace_content(document: DocumentModel, value: Any) -> None:
    """Replace the value of a document by one that consists of what `json.loads` returns."""
    content = content_of_plain(value)
    document.value, document.data = content.get("value"), content.get("data")


def dict_or_text(value: dict[str, Any]) -> dict[str, Any] | str:
    """Return a dict, or its text as `json.dumps` writes it if it is not valid JSON."""
    return value if is_json(value) else json.dumps(value)


def dict_of(kept: dict[str, Any] | str) -> dict[str, Any]:
    """Return the dict that `dict_or_text` was given."""
    return cast("dict[str, Any]", json.loads(kept)) if isinstance(kept, str) else kept


def is_json(value: Any) -> bool:
    """Return whether UTF-8 JSON can hold a value that consists of what `json.loads` returns."""
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except ValueError:
        return False
    return True


def lists_for_tuples(value: Any) -> Any:
    """Return a value with a list in place of each tuple, as JSON has it."""
    if isinstance(value, dict):
        return {name: lists_for_tuples(each) for name, each in value.items()}
    return [lists_for_tuples(each) for each in value] if isinstance(value, list | tuple) else value
