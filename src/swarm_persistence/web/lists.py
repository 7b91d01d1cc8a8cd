"""Sorts and pages through the records of any model that match the filters of a query string."""

import base64
from collections.abc import Iterable
from typing import Any, Generic, TypeVar

import msgspec

from swarm_persistence import (
    AgentModel,
    DocumentModel,
    EventModel,
    InvalidQueryError,
    MessageModel,
    MetricModel,
    Model,
    QueryBuilder,
    ScheduleModel,
    Storage,
    TaskModel,
)
from swarm_persistence.errors import shown
from swarm_persistence.query.filters import query_of, value_of

M = TypeVar("M", bound=Model)

MOST_RECORDS = 1000
DEFAULT_RECORDS = 50
OWN_PARAMETERS = frozenset({"limit", "cursor", "sort"})

DEFAULT_SORTS: dict[type[Model], str] = {
    AgentModel: "-id",
    DocumentModel: "id",
    EventModel: "-sequence",
    MessageModel: "-sequence",
    MetricModel: "-id",
    ScheduleModel: "id",
    TaskModel: "-id",
}
"""Unique fields that an index sorts by. Generated ids begin with the time, so newest-first is by id."""

_UNIQUE = ("id", "sequence")


class RecordPage(msgspec.Struct, Generic[M], frozen=True):
    """Some records of a list, and how to get the next ones."""

    items: list[M]
    next_cursor: str | None
    """`cursor` of the next page; null on the last one."""


class _Position(msgspec.Struct, frozen=True, array_like=True):
    """The content of a cursor: the order, and the last record of the previous page."""

    sort: str
    value: Any
    id: str


async def page_of(  # noqa: PLR0917 - the parts of a query string, in their usual order
    storage: Storage,
    model: type[M],
    filters: Iterable[tuple[str, str]],
    sort: str | None = None,
    limit: int = DEFAULT_RECORDS,
    cursor: str | None = None,
) -> RecordPage[M]:
    """Return a page of the records that match all filters, as `query_of` reads them.

    `sort` is a field, with `-` in front for descending order; equal values are sorted by id. A page begins after the
    last record of the previous one, and costs the same wherever it is in the list.

    Raises:
        InvalidQueryError: a field, an operator, a value, the limit or the cursor is unknown or invalid.

    """
    if not 1 <= limit <= MOST_RECORDS:
        raise InvalidQueryError(f"limit is {shown(limit)}, expected 1 to {MOST_RECORDS}")
    order = sort or DEFAULT_SORTS[model]
    query = query_of(model, filters)
    found = await _found(storage, model, query, order, limit + 1, _position(cursor, order))
    items = found[:limit]
    return RecordPage(items, _cursor(order, items[-1]) if len(found) > limit else None)


async def _found(  # noqa: PLR0917
    storage: Storage, model: type[M], query: QueryBuilder[M], order: str, limit: int, after: _Position | None
) -> list[M]:
    """Return the records after a position: first those of the same value, by id."""
    field, is_descending = order.removeprefix("-"), order.startswith("-")
    repository = storage.repository(model)
    ordered = query.order_by(field, desc=is_descending)
    if field not in _UNIQUE:
        ordered = ordered.order_by("id")
    if after is None:
        return await repository.query(ordered.limit(limit))
    value = _value_after(model, field, after)
    if field in _UNIQUE:
        ordered = ordered.where_lt(field, value) if is_descending else ordered.where_gt(field, value)
        return await repository.query(ordered.limit(limit))
    equal = query.where_null(field) if value is None else query.where_eq(field, value)
    found = await repository.query(equal.where_gt("id", after.id).order_by("id").limit(limit))
    beyond = _beyond(query, field, value, is_descending=is_descending)
    while beyond and len(found) < limit:
        later = beyond.pop(0).order_by(field, desc=is_descending).order_by("id")
        found += await repository.query(later.limit(limit - len(found)))
    return found


def _value_after(model: type[Model], field: str, after: _Position) -> Any:
    if after.value is None:
        return None
    text = after.value if isinstance(after.value, str) else msgspec.json.encode(after.value).decode()
    return value_of(model, field, text)


def _beyond(query: QueryBuilder[M], field: str, value: Any, *, is_descending: bool) -> list[QueryBuilder[M]]:
    """Return the queries for all records beyond this value; null sorts first."""
    if is_descending:
        return [] if value is None else [query.where_lt(field, value), query.where_null(field)]
    return [query.where_not_null(field) if value is None else query.where_gt(field, value)]


def _cursor(order: str, last: Model) -> str:
    value = msgspec.to_builtins(getattr(last, order.removeprefix("-")))
    text = msgspec.json.encode(_Position(order, value, last.id))
    return base64.urlsafe_b64encode(text).decode().rstrip("=")


def _position(cursor: str | None, order: str) -> _Position | None:
    if cursor is None:
        return None
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars="-_", validate=True)
        position = msgspec.json.decode(text, type=_Position)
    except ValueError as error:  # msgspec's errors are of this class, too
        raise InvalidQueryError(f"cursor is {shown(cursor)}, expected the next_cursor of a page") from error
    if position.sort != order:
        raise InvalidQueryError(f"cursor is of a list sorted by {shown(position.sort)}, not by {shown(order)}")
    return position
