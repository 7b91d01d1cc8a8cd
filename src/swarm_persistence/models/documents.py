"""The document: a value, bytes, or both, under a key in a collection."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Self

import msgspec

from swarm_persistence.clock import now
from swarm_persistence.models.base import Model
from swarm_persistence.models.collections import collection_text, document_id


class DocumentModel(Model, kw_only=True):
    """A record under a key in a collection. `version` counts the writes; a fresh record, never stored, has 0.

    A collection is a path: `("memories", "agent-1")` lies below `("memories",)`. The `id` derives from collection and
    key. A `label` is a second key to find documents by. After `expires_at`, a document is no longer read. `embedding`
    is kept in single precision.
    """

    id: str = ""
    collection: tuple[str, ...]
    key: str
    label: str | None = None
    created_at: datetime = msgspec.field(default_factory=now)
    updated_at: datetime = msgspec.field(default_factory=now)
    expires_at: datetime | None = None
    version: int = 0
    value: Any = None
    data: bytes | None = None
    embedding: list[float] | None = None

    def __post_init__(self) -> None:
        if not self.id:
            try:  # noqa: SIM105 - suppress would take a third of the time of `new`
                self.id = document_id(collection_text(self.collection), self.key)
            except (TypeError, AttributeError):
                pass  # storing it refuses the field, by its name

    @classmethod
    def new(
        cls,
        collection: Iterable[str],
        key: str,
        value: Any = None,
        data: bytes | None = None,
        *,
        label: str | None = None,
        expires_at: datetime | None = None,
        embedding: list[float] | None = None,
    ) -> Self:
        """Return a document of this key, created now."""
        moment = now()
        return cls(
            collection=collection if isinstance(collection, str) else tuple(collection),  # type: ignore[arg-type]
            key=key,
            value=value,
            data=data,
            label=label,
            created_at=moment,
            updated_at=moment,
            expires_at=expires_at,
            embedding=embedding,
        )

    @staticmethod
    def id_of(collection: tuple[str, ...], key: str) -> str:
        """Return the id of the document of this key in a collection."""
        return document_id(collection_text(collection), key)
