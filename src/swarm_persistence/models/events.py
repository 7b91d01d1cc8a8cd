"""The event: something that happened, kept for audit and debugging."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Self

import msgspec

from swarm_persistence.clock import now
from swarm_persistence.models.base import Model
from swarm_persistence.models.grouped import Tagged


class EventModel(Model, Tagged, kw_only=True):
    """Something that happened. `sequence` is its position in the log, `None` until it is stored.

    Of two events with one `idempotency_key`, only the first is stored.
    """

    event_type: str
    agent_id: str | None = None
    task_id: str | None = None
    data: Any = None
    metadata: dict[str, Any] = {}
    timestamp: datetime = msgspec.field(default_factory=now)
    idempotency_key: str | None = None
    group: str | None = None
    tags: dict[str, str] = {}
    sequence: int | None = None

    @classmethod
    def new(
        cls,
        event_type: str,
        data: Any,
        *,
        agent_id: str | None = None,
        task_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
        group: str | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> Self:
        """Return an event with an id of its own, of this moment."""
        return cls(
            event_type=event_type,
            data=data,
            agent_id=agent_id,
            task_id=task_id,
            metadata=dict(metadata or {}),
            idempotency_key=idempotency_key,
            group=group,
            tags=dict(tags or {}),
        )

    def with_agent(self, agent_id: str) -> Self:
        """Return the same event with this agent."""
        return msgspec.structs.replace(self, agent_id=agent_id)

    def with_task(self, task_id: str) -> Self:
        """Return the same event with this task."""
        return msgspec.structs.replace(self, task_id=task_id)
