"""Converts text filters, such as those of a query string, to a query; the same for all models."""

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar, get_args

import msgspec

from swarm_persistence.errors import InvalidQueryError, shown
from swarm_persistence.models import Model
from swarm_persistence.query.builder import QueryBuilder

M = TypeVar("M", bound=Model)

OPERATORS = ("eq", "ne", "gt", "ge", "lt", "le", "like", "null")
"""The suffixes of a field's name in a filter: `created_at.ge`."""


def query_of(model: type[M], filters: Iterable[tuple[str, str]]) -> QueryBuilder[M]:
    """Return the query of all records that match the filters, given as names and values.

    `status=pending`, `created_at.ge=2026-01-01T00:00:00Z`, `name.like=w%`, `assigned_to.null=true`, `tags.run=7`; of
    several values for one name, one must match.

    Raises:
        InvalidQueryError: a field, an operator or a value is unknown or does not fit.

    """
    values: dict[str, list[str]] = {}
    for name, value in filters:
        values.setdefault(name, []).append(value)
    query = QueryBuilder(model)
    for name, texts in values.items():
        query = _filtered(query, model, name, texts)
    return query


def query_where(model: type[M], tags: Iterable[tuple[str, str]], **fields: object) -> QueryBuilder[M]:
    """Return the query of all records that have these tags, and these values of fields.

    Of a list, one value must match; `None` matches every record.

    Raises:
        InvalidQueryError: a field or a value is unknown or does not fit.

    """
    query = QueryBuilder(model)
    for field, value in fields.items():
        if isinstance(value, list):
            query = query.where_in(field, value)
        elif value is not None:
            query = query.where_eq(field, value)
    for key, value in tags:
        query = query.where_tag(key, value)
    return query


def _filtered(query: QueryBuilder[M], model: type[M], name: str, texts: Sequence[str]) -> QueryBuilder[M]:
    field, _, operator = name.partition(".")
    if field == "tags" and operator:
        return _tagged(query, operator, texts)
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


def _tagged(query: QueryBuilder[M], key: str, texts: Sequence[str]) -> QueryBuilder[M]:
    for text in texts:
        query = query.where_tag(key, text)
    return query


def value_of(model: type[Model], field: str, text: str) -> Any:
    """Parse the text of a field's value; a time is RFC 3339 or Unix seconds."""
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
