"""The message from one agent to another."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Self

import msgspec

from swarm_persistence.clock import now
from swarm_persistence.models.base import Model
from swarm_persistence.models.choices import RankedEnum, member, member_or_value
from swarm_persistence.models.grouped import Tagged


class MessagePriority(RankedEnum):
    """How urgent a message is; ordered, `LOW < NORMAL < HIGH < URGENT`."""

    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"
    URGENT = "urgent"


class MessageModel(Model, Tagged, kw_only=True):
    """A message from one agent to another; unread until marked as read, and open until acknowledged.

    `read_at` is the time of the mark. `sequence` is its position in order of arrival, `None` until it is stored.
    """

    from_agent: str
    to_agent: str
    message_type: str
    content: Any = None
    priority: MessagePriority = MessagePriority.NORMAL
    read: bool = False
    read_at: datetime | None = None
    timestamp: datetime = msgspec.field(default_factory=now)
    acknowledged_at: datetime | None = None
    result: Any | None = None
    group: str | None = None
    tags: dict[str, str] = {}
    sequence: int | None = None

    def __post_init__(self) -> None:
        # Only if it is not a member, as every record that is read comes through here.
        if type(self.priority) is not MessagePriority:
            self.priority = member_or_value(MessagePriority, self.priority)

    @classmethod
    def new(
        cls,
        from_agent: str,
        to_agent: str,
        message_type: str,
        content: Any,
        *,
        priority: MessagePriority | str = MessagePriority.NORMAL,
        group: str | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> Self:
        """Return an unread message with a new id, created now."""
        return cls(
            from_agent=from_agent,
            to_agent=to_agent,
            message_type=message_type,
            content=content,
            priority=member(MessagePriority, priority, "message.priority"),
            group=group,
            tags=dict(tags or {}),
        )

    def with_priority(self, priority: MessagePriority | str) -> Self:
        """Return the same message with this priority."""
        return msgspec.structs.replace(self, priority=member(MessagePriority, priority, "message.priority"))
