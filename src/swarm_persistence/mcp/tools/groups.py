"""The queries of the records that a group and tags choose."""

from typing import TypeVar

from swarm_persistence import Model, QueryBuilder

M = TypeVar("M", bound=Model)


def chosen(query: QueryBuilder[M], group: str | None, tags: dict[str, str] | None) -> QueryBuilder[M]:
    """Return the query of those records that are of the group, and have the tags."""
    if group is not None:
        query = query.where_eq("group", group)
    for key, value in (tags or {}).items():
        query = query.where_tag(key, value)
    return query
