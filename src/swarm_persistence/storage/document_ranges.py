"""Converts the arguments that choose documents to conditions; independent of engines."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import NamedTuple

from swarm_persistence.durations import seconds
from swarm_persistence.errors import InvalidQueryError, shown
from swarm_persistence.models import DocumentModel
from swarm_persistence.models.collections import collection_of, document_id
from swarm_persistence.query.collections import collection_argument, collections_below, documents_of
from swarm_persistence.query.query import Condition, FromNow, Order, Query, unexpired
from swarm_persistence.query.values import query_value
from swarm_persistence.schema.tables import DOCUMENTS, SEQUENCE
from swarm_persistence.schema.values import text
from swarm_persistence.storage.arguments import flag, texts

IS_UNEXPIRED = unexpired(DOCUMENTS)
_EXPIRES_AT = DOCUMENTS.column("expires_at")


class DocumentChoice(NamedTuple):
    """The arguments that choose documents of a collection."""

    collection: object
    below: bool = False
    keys: Iterable[str] | None = None
    after: str | None = None
    before: str | None = None
    label: str | None = None
    by_arrival: bool = False

    def conditions(self) -> tuple[Condition, ...]:
        """Return the conditions of these documents, except those on keys; expired documents match."""
        conditions = self._range(collection_argument(self.collection))
        if self.label is not None:
            conditions.append(Condition("label", "=", text(self.label, "label")))
        return tuple(conditions)

    def chosen_keys(self) -> tuple[str, ...] | None:
        """Return the distinct keys that are chosen, in order, or `None` if no keys are given."""
        return None if self.keys is None else tuple(sorted(texts(self.keys, "keys")))

    def _range(self, collection: str) -> list[Condition]:
        if flag(self.below, "below"):
            return [*collections_below(collection), *self._bounds("key", "")]
        if flag(self.by_arrival, "by_arrival"):
            return [Condition("collection", "=", collection), *self._bounds("key", "")]
        bounds = self._bounds("id", document_id(collection, ""))
        # No two bounds on one side: an index takes only one of them.
        operators = {operator for _, operator, _ in bounds}
        first, end = documents_of(collection)
        if ">" not in operators:
            bounds.append(first)
        if "<" not in operators:
            bounds.append(end)
        return bounds

    def _bounds(self, field: str, prefix: str) -> list[Condition]:
        bounds = []
        if self.after is not None:
            bounds.append(Condition(field, ">", prefix + text(self.after, "after")))
        if self.before is not None:
            bounds.append(Condition(field, "<", prefix + text(self.before, "before")))
        return bounds


def order_of(*, by_arrival: bool, desc: bool) -> tuple[Order, ...]:
    """Return the order of arrival, or that of collections and keys."""
    return (Order(SEQUENCE if flag(by_arrival, "by_arrival") else "id", flag(desc, "desc")),)


def id_argument(collection: object, key: object) -> str:
    """Return the id of the document that a caller names."""
    return document_id(collection_argument(collection), text(key, "key"))


def expiry_argument(value: datetime | float | timedelta | None) -> int | FromNow | None:
    """Return an expiry as a change: a time, or a duration from now by the database's clock."""
    if value is None:
        return None
    if isinstance(value, timedelta):
        return FromNow(seconds(value, "expires_at"))
    moment = query_value(_EXPIRES_AT, value, "expires_at")
    assert isinstance(moment, int)
    return moment


def query_of(choice: DocumentChoice, *, desc: bool = False, limit: int | None = None) -> Query[DocumentModel]:
    """Return the query for the chosen documents that have not expired, in their order."""
    order = order_of(by_arrival=choice.by_arrival, desc=desc)
    return Query(DOCUMENTS, (*choice.conditions(), *IS_UNEXPIRED), order, limit)


def refuse_overlap(source: str, target: str, *, below: bool) -> None:
    """Refuse to copy a collection into itself."""
    if source == target or (below and (source.startswith(target) or target.startswith(source))):
        given = shown(collection_of(target))
        raise InvalidQueryError(f"target is {given}, expected a collection that does not overlap the source")
