"""Filters, sorts and pages through the records of any model: a query string becomes a query, in one way for all."""

import base64
from collections.abc import Iterable, Sequence
from typing import Any, Generic, TypeVar, get_args

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
"""Unique fields, whose order is that of an index. Ids of the library begin with the time: the newest come first."""

_UNIQUE = ("id", "sequence")

OPERATORS = ("eq", "ne", "gt", "ge", "lt", "le", "like", "null")
"""What may follow the name of a field in a filter: `created_at.ge`."""


class RecordPage(msgspec.Struct, Generic[M], frozen=True):
    """Some records of a list, and how to get the next ones."""

    items: list[M]
    next_cursor: str | None
    """`cursor` of the next page; null on the last one."""


class _Position(msgspec.Struct, frozen=True, array_like=True):
    """What a cursor says: the order, and the last record of the page before."""

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
    """Return a page of the records that match all filters, given as names and values of a query string.

    `status=pending`, `created_at.ge=2026-01-01T00:00:00Z`, `name.like=w%`, `assigned_to.null=true`; of several values
    for one name, one must fit. `sort` is a field, with `-` before it from the highest value down; equal values are in
    the order of their ids. A page begins after the last record of the one before, and
    costs the same wherever it is in the list.

    Raises:
        InvalidQueryError: a field, an operator, a value, the limit or the cursor is unknown or does not fit.

    """
    if not 1 <= limit <= MOST_RECORDS:
        raise InvalidQueryError(f"limit is {shown(limit)}, expected 1 to {MOST_RECORDS}")
    order = sort or DEFAULT_SORTS[model]
    query = query_of(model, filters)
    found = await _found(storage, model, query, order, limit + 1, _position(cursor, order))
    items = found[:limit]
    return RecordPage(items, _cursor(order, items[-1]) if len(found) > limit else None)


def query_of(model: type[M], filters: Iterable[tuple[str, str]]) -> QueryBuilder[M]:
    """Return the query of all records that match the filters."""
    values: dict[str, list[str]] = {}
    for name, value in filters:
        values.setdefault(name, []).append(value)
    query = QueryBuilder(model)
    for name, texts in values.items():
        query = _filtered(query, model, name, texts)
    return query


def _filtered(query: QueryBuilder[M], model: type[M], name: str, texts: Sequence[str]) -> QueryBuilder[M]:
    field, _, operator = name.partition(".")
    operator = operator or "eq"
    if operator not in OPERATORS:
        raise InvalidQueryError(f"filter {shown(name)} has no known operator, expected one of {', '.join(OPERATORS)}")
    if operator == "null":
        is_null = msgspec.convert(texts[-1], bool, strict=False) if texts[-1] in ("true", "false") else None
        if is_null is None:
            raise InvalidQueryError(f"filter {shown(name)} is {shown(texts[-1])}, expected true or false")
        return query.where_null(field) if is_null else query.where_not_null(field)
    values = [value_of(model, field, text) for text in texts]
    if operator == "eq":
        return query.where_eq(field, values[0]) if len(values) == 1 else query.where_in(field, values)
    if len(values) > 1:
        raise InvalidQueryError(f"filter {shown(name)} is given {len(values)} times, expected once")
    where: Any = getattr(query, f"where_{operator}")
    filtered: QueryBuilder[M] = where(field, values[0])
    return filtered


def value_of(model: type[Model], field: str, text: str) -> Any:
    """Return the value of a field that a text stands for; a time is RFC 3339 or Unix seconds."""
    known = {each.name: each.type for each in msgspec.structs.fields(model)}
    if field not in known:
        raise InvalidQueryError(f"{model.__name__} has no field {shown(field)}, expected one of {', '.join(known)}")
    kinds = [kind for kind in get_args(known[field]) if kind is not type(None)] or [known[field]]
    if len(kinds) > 1 or kinds[0] is Any or issubclass(kinds[0], str):
        return text  # an enum's members are listed by the query's own error
    try:
        return msgspec.convert(text, kinds[0], strict=False)
    except (msgspec.ValidationError, OverflowError, ValueError) as error:
        raise InvalidQueryError(f"{field} is {shown(text)}: {error}") from error


async def _found(  # noqa: PLR0917
    storage: Storage, model: type[M], query: QueryBuilder[M], order: str, limit: int, after: _Position | None
) -> list[M]:
    """Return the records after a position; those of the same value come first, by their ids."""
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
    """Return the queries of all that comes after the records of this value; null comes before all others."""
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
