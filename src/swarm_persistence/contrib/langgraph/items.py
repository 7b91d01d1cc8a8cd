"""Keeps an item of LangGraph's store as a document, and reads it back; knows no storage.

The document's value is the item's, its embedding the item's vectors, one after the other; one with several of them has
a label. An item with a TTL has it in `data`, with the time at which it was written, for a refresh moves `updated_at`;
its label says that it expires, so that no refresh gives an expiry to an item without a TTL that replaces it meanwhile.
"""

import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from operator import mul
from typing import Any, Self

import msgspec

from swarm_persistence import DocumentModel, timedelta_of
from swarm_persistence.contrib.json_values import lists_for_tuples

ROOT = "langgraph.store"
"""The first part of all collections of items; no label of a namespace may have a dot."""

_EXPIRES = "langgraph.store: expires"
_SEVERAL_VECTORS, _EXPIRES_SEVERAL_VECTORS = f"{ROOT}: several vectors", f"{ROOT}: expires, several vectors"

SEVERAL_VECTORS = (_SEVERAL_VECTORS, _EXPIRES_SEVERAL_VECTORS)
"""The labels of the documents that `nearest_documents` cannot compare."""

EXPIRING = (_EXPIRES, _EXPIRES_SEVERAL_VECTORS)
"""The labels of the documents of items with a TTL; earlier releases have given them none."""

_REFUSED = (bytes, bytearray, memoryview, Decimal)
"""What is not JSON, and would come back as a text that says less."""


class Expiry(msgspec.Struct, array_like=True):
    """What an item with a TTL keeps in its document's `data`."""

    minutes: float
    written_at: datetime

    @classmethod
    def of(cls, document: DocumentModel) -> Self:
        return msgspec.json.decode(document.data or b"", type=cls)


def document_of(
    namespace: tuple[str, ...],
    key: str,
    value: Mapping[str, Any],
    vectors: Sequence[Sequence[float]],
    minutes: float | None,
) -> DocumentModel:
    """Return the document of an item, which expires after this many minutes."""
    # What is passed on as it is, the storage refuses by its name.
    kept = lists_for_tuples(msgspec.to_builtins(dict(value), builtin_types=_REFUSED))
    numbers = [number for vector in vectors for number in vector] or None
    label = _SEVERAL_VECTORS if len(vectors) > 1 else None
    document = DocumentModel.new((ROOT, *namespace), key, kept, label=label, embedding=numbers)
    if minutes is not None:
        lifetime = timedelta_of(minutes, "ttl", unit="minutes")
        document.expires_at = document.created_at + lifetime
        document.label = _EXPIRES if label is None else _EXPIRES_SEVERAL_VECTORS
        document.data = msgspec.json.encode(Expiry(lifetime / timedelta(minutes=1), document.created_at))
    return document


def parts_of(document: DocumentModel) -> dict[str, Any]:
    """Return the arguments that make an item."""
    return {
        "namespace": document.collection[1:],
        "key": document.key,
        "value": document.value,
        "created_at": document.created_at,
        "updated_at": document.updated_at if document.data is None else Expiry.of(document).written_at,
    }


def similarity(document: DocumentModel, wanted: Sequence[float]) -> float | None:
    """Return the cosine of the item's vector that fits best, or `None` if it has none."""
    numbers, size = document.embedding or [], len(wanted)
    vectors = [numbers[start : start + size] for start in range(0, len(numbers), size)]
    return max((_cosine(each, wanted) for each in vectors if len(each) == size), default=None)


def _cosine(one: Sequence[float], other: Sequence[float]) -> float:
    lengths = math.hypot(*one) * math.hypot(*other)
    return sum(map(mul, one, other)) / lengths if lengths else 0.0
