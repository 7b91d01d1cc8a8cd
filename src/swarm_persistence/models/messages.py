"""The message from one agent to another."""

from datetime import datetime
from typing import Any, Self

import msgspec

from swarm_persistence.clock import now
from swarm_persistence.models.base import Model


class MessageModel(Model, kw_only=True):
    """What one agent tells another; unread until it is marked, and open until it is acknowledged.

    `sequence` is its place among the messages that arrived, `None` until it is stored.
    """

    from_agent: str
    to_agent: str
    message_type: str
    content: Any = None
    read: bool = False
    timestamp: datetime = msgspec.field(default_factory=now)
    acknowledged_at: datetime | None = None
    result: Any | None = None
    sequence: int | None = None

    @classmethod
    def new(cls, from_agent: str, to_agent: str, message_type: str, content: Any) -> Self:
        """Return an unread message with an id of its own, of this moment."""
        return cls(from_agent=from_agent, to_agent=to_agent, message_type=message_type, content=content)
