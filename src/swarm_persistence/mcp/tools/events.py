"""The tools of events."""

from typing import Annotated, Any

from msgspec import Meta

from swarm_persistence import EventModel, InvalidQueryError, Storage
from swarm_persistence.mcp.shown import DEFAULT_CHARACTERS, listed, shown
from swarm_persistence.mcp.tools.parameters import Characters, JsonValue, Limit, NewGroup, NewTags
from swarm_persistence.query.filters import query_where


async def append_event(
    storage: Storage,
    *,
    event_type: Annotated[str, Meta(description="What has happened, such as 'decision_made'.")],
    data: Annotated[JsonValue, Meta(description="The details: any JSON value.")] = None,
    agent_id: Annotated[str | None, Meta(description="The agent that it is about, such as you.")] = None,
    task_id: Annotated[str | None, Meta(description="The task that it is about.")] = None,
    idempotency_key: Annotated[
        str | None,
        Meta(description="Of two events with one key, only the first is stored: makes repeating this call safe."),
    ] = None,
    group: NewGroup = None,
    tags: NewTags = None,
) -> dict[str, Any]:
    """Append an event to the log of the swarm, which all agents can read and no agent can change."""
    event = EventModel.new(
        event_type,
        data,
        agent_id=agent_id,
        task_id=task_id,
        idempotency_key=idempotency_key,
        group=group,
        tags=tags,
    )
    stored = await storage.store_event(event)
    return {"event_id": stored.id, "sequence": stored.sequence}


async def read_events(
    storage: Storage,
    *,
    after: Annotated[
        Annotated[int, Meta(ge=0)] | None,
        Meta(
            description="Read on after this sequence number, oldest first; 0 is the beginning. Default: the latest "
            "events, newest first.",
        ),
    ] = None,
    event_types: Annotated[list[str] | None, Meta(description="Only events of these types.")] = None,
    agent_id: Annotated[str | None, Meta(description="Only events about this agent; not with 'after'.")] = None,
    task_id: Annotated[str | None, Meta(description="Only events about this task; not with 'after'.")] = None,
    group: Annotated[str | None, Meta(description="Only events of this group; not with 'after'.")] = None,
    tags: Annotated[
        dict[str, str] | None, Meta(description="Only events that have all of these tags; not with 'after'.")
    ] = None,
    limit: Limit = 20,
    max_characters: Characters = DEFAULT_CHARACTERS,
) -> dict[str, Any]:
    """Read the event log of the swarm: what has happened of late, or all since an event that you know.

    To follow the log, call it again with after = the returned next_after: no event is missed or repeated.
    """
    if after is None:
        query = query_where(
            EventModel, (tags or {}).items(), group=group, agent_id=agent_id, task_id=task_id, event_type=event_types
        )
        newest = query.order_by("sequence", desc=True).limit(limit + 1)
        found = await storage.repository(EventModel).query(newest)
        more = "read_events with a larger limit, or with after=0 from the beginning"
        return listed("events", _all_shown(found, max_characters), limit, more)
    if agent_id is not None or task_id is not None or group is not None or tags:
        raise InvalidQueryError(
            "agent_id, task_id, group and tags choose among the latest events; leave them, or 'after'"
        )
    found = await storage.read_events(after, limit + 1, types=event_types)
    last = found[:limit][-1].sequence if found else after
    answer = listed("events", _all_shown(found, max_characters), limit, f"read_events with after={last}")
    return {**answer, "next_after": last}


def _all_shown(events: list[EventModel], characters: int) -> list[dict[str, Any]]:
    shortened: list[dict[str, Any]] = []
    for event in events:
        hint = f"read_events with after={(event.sequence or 1) - 1}, limit=1 and a larger max_characters"
        shortened.append(shown(event, characters, hint))
    return shortened
