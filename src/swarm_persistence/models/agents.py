"""The agent: a member of the swarm, with its capabilities, status and last heartbeat."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, Self

import msgspec

from swarm_persistence.clock import now
from swarm_persistence.models.base import Model
from swarm_persistence.models.choices import member, member_or_value
from swarm_persistence.models.grouped import Tagged
from swarm_persistence.models.lists import texts_of


class AgentStatus(StrEnum):
    """The state of an agent."""

    INITIALIZING = "initializing"
    ACTIVE = "active"
    IDLE = "idle"
    BUSY = "busy"
    PAUSED = "paused"
    ERROR = "error"
    SHUTDOWN = "shutdown"


class AgentModel(Model, Tagged, kw_only=True):
    """A worker of the swarm. `version` counts the writes; a fresh record, never stored, has 0."""

    name: str
    agent_type: str
    status: AgentStatus = AgentStatus.INITIALIZING
    capabilities: list[str] = []
    metadata: dict[str, Any] = {}
    heartbeat: datetime = msgspec.field(default_factory=now)
    created_at: datetime = msgspec.field(default_factory=now)
    updated_at: datetime = msgspec.field(default_factory=now)
    group: str | None = None
    tags: dict[str, str] = {}
    version: int = 0

    def __post_init__(self) -> None:
        # Only if it is not a member, as every record that is read comes through here.
        if type(self.status) is not AgentStatus:
            self.status = member_or_value(AgentStatus, self.status)

    @classmethod
    def new(
        cls,
        name: str,
        agent_type: str,
        capabilities: Iterable[str] = (),
        *,
        metadata: Mapping[str, Any] | None = None,
        group: str | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> Self:
        """Return an agent with an id of its own, created now."""
        moment = now()
        return cls(
            name=name,
            agent_type=agent_type,
            capabilities=texts_of(capabilities, "agent.capabilities"),
            metadata=dict(metadata or {}),
            group=group,
            tags=dict(tags or {}),
            heartbeat=moment,
            created_at=moment,
            updated_at=moment,
        )

    def update_heartbeat(self) -> None:
        """Set `heartbeat` and `updated_at` to now; `update_agent` stores it."""
        self.heartbeat = self.updated_at = now()

    def set_status(self, status: AgentStatus | str) -> None:
        """Set `status`, and `updated_at` to now; `update_agent` stores it."""
        self.status = member(AgentStatus, status, "agent.status")
        self.updated_at = now()
