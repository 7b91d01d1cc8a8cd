"""The tool that deletes many records."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from msgspec import Meta

from swarm_persistence import QueryBuilder, Storage
from swarm_persistence.query.filters import query_of
from swarm_persistence.schema.tables import table_named


async def delete_records(
    storage: Storage,
    *,
    kind: Annotated[
        Literal["agents", "tasks", "events", "messages", "metrics", "documents", "schedules"],
        Meta(description="What is deleted."),
    ],
    filters: Annotated[
        Mapping[str, str | Sequence[str]],
        Meta(
            min_length=1,
            description="All of them must fit: a field, or a field, a dot and an operator (eq, ne, gt, ge, lt, le, "
            "like, null), and the value as a text; of a list of values, one must fit. As in {'status': ['failed', "
            "'cancelled'], 'created_at.lt': '2026-01-01T00:00:00Z', 'tags.run': '7'}.",
        ),
    ],
    dry_run: Annotated[bool, Meta(description="Delete nothing, and tell how many would be. False deletes.")] = True,
) -> dict[str, Any]:
    """Count the records that match filters or, with dry_run=false, delete them permanently: check the count first.

    Tasks that wait for a deleted one fail. A deleted agent gives its tasks back.
    """
    texts = ((name, text) for name, each in filters.items() for text in ([each] if isinstance(each, str) else each))
    query: QueryBuilder[Any] = query_of(table_named(kind).model, texts)
    count = await storage.delete_where(query, dry_run=dry_run)
    return {"count": count, "deleted": not dry_run}
