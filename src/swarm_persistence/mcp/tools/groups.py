"""Restricts queries to a group and tags."""

from typing import TypeVar

from swarm_persistence import Model, QueryBuilder

M = TypeVar("M", bound=Model)


def chosen(query: QueryBuilder[M], group: str | None, tags: dict[str, str] | None) -> QueryBuilder[M]:
    """Restrict a query to the records of a group that have these tags."""
    if group is not None:
        query = query.where_eq("group", group)
    for key, value in (tags or {}).items():
        query = query.where_tag(key, value)
    return query
