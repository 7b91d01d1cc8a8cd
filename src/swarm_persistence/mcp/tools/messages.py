"""The tools of messages."""

import asyncio
from typing import Annotated, Any, Literal

from msgspec import Meta

from swarm_persistence import InvalidQueryError, MessageModel, Storage
from swarm_persistence.mcp.shown import listed, shown
from swarm_persistence.mcp.tools.parameters import AgentId, Characters, JsonValue, Limit, NewGroup, NewTags
from swarm_persistence.query.filters import query_where


async def send_message(
    storage: Storage,
    *,
    from_agent: AgentId,
    to_agent: Annotated[str, Meta(description="The agent_id of the recipient; swarm_status lists the agents.")],
    content: Annotated[JsonValue, Meta(description="The message: a text, or any JSON value.")],
    message_type: Annotated[str, Meta(description="What kind of message it is, such as 'question'.")] = "text",
    priority: Annotated[Literal["low", "normal", "high", "urgent"], Meta(description="Urgent first.")] = "normal",
    group: NewGroup = None,
    tags: NewTags = None,
) -> dict[str, Any]:
    """Send a message to another agent. It is kept until that agent reads it."""
    message = MessageModel.new(from_agent, to_agent, message_type, content, priority=priority, group=group, tags=tags)
    await storage.store_message(message)
    return {"message_id": message.id}


async def read_messages(
    storage: Storage,
    *,
    agent_id: AgentId,
    with_agent: Annotated[
        str | None, Meta(description="Show the conversation with this agent, newest first, read or not.")
    ] = None,
    message_ids: Annotated[
        list[str] | None, Meta(description="Show these messages to you again, whether they are read or not.")
    ] = None,
    group: Annotated[str | None, Meta(description="Only those of this group; not with 'with_agent'.")] = None,
    tags: Annotated[
        dict[str, str] | None, Meta(description="Only those that have all of these tags; not with 'with_agent'.")
    ] = None,
    mark_read: Annotated[bool, Meta(description="Mark the messages to you that are returned as read.")] = True,
    limit: Limit = 20,
    max_characters: Characters = 2000,
) -> dict[str, Any]:
    """Read your unread messages: urgent ones first, then oldest first. They are then marked as read."""
    if with_agent is not None:
        if group is not None or tags:
            raise InvalidQueryError("group and tags choose among the messages to you; leave them, or 'with_agent'")
        found = await storage.get_messages_between(agent_id, with_agent, limit + 1)
    else:
        unread = False if message_ids is None else None
        chosen = query_where(
            MessageModel, (tags or {}).items(), group=group, to_agent=agent_id, id=message_ids, read=unread
        )
        query = chosen.order_by("priority", desc=True).order_by("timestamp").limit(limit + 1)
        found = await storage.repository(MessageModel).query(query)
    if mark_read:
        to_mark = (message for message in found[:limit] if message.to_agent == agent_id and not message.read)
        await asyncio.gather(*(storage.mark_message_read(message.id) for message in to_mark))
    more = "call it again" if mark_read and with_agent is None else "call it with a larger limit"
    return listed("messages", (_shown(message, max_characters) for message in found), limit, more)


def _shown(message: MessageModel, characters: int) -> dict[str, Any]:
    hint = f"read_messages with agent_id={message.to_agent!r}, message_ids=[{message.id!r}] and a larger max_characters"
    fields = shown(message, characters, hint)
    # As it was before this call marked it.
    return {name: value for name, value in fields.items() if name not in ("read", "read_at")}
