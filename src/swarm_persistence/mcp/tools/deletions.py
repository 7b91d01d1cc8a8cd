"""The tools that delete many records: those that match filters, and old ones."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, get_args

from msgspec import Meta

from swarm_persistence import Pruned, QueryBuilder, Storage
from swarm_persistence.query.filters import query_of
from swarm_persistence.schema.tables import table_named

_PrunedKind = Literal["tasks", "events", "messages", "metrics", "documents", "agents"]


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


async def prune(
    storage: Storage,
    *,
    older_than_seconds: Annotated[float, Meta(ge=0, description="How old a record is at least, as 604800 for a week.")],
    kinds: Annotated[
        Annotated[Sequence[_PrunedKind], Meta(min_length=1)] | None,
        Meta(description="What is deleted. Default: all of these kinds."),
    ] = None,
    dry_run: Annotated[bool, Meta(description="Delete nothing, and tell how many would be. False deletes.")] = True,
) -> dict[str, Any]:
    """Count old records that are done with or, with dry_run=false, delete them permanently: check the counts first.

    Finished tasks that no unfinished one waits for, events, messages that are read or acknowledged, metrics, agents
    that have shut down, and documents that have expired, whatever their age.
    """
    wanted: Mapping[str, Any] = {kind: kinds is None or kind in kinds for kind in get_args(_PrunedKind)}
    pruned: Pruned = await storage.prune(older_than_seconds, dry_run=dry_run, **wanted)
    return {**{kind: getattr(pruned, kind) for kind in get_args(_PrunedKind) if wanted[kind]}, "deleted": not dry_run}
