"""The metric: one measured number."""

from collections.abc import Mapping
from datetime import datetime
from typing import Self

import msgspec

from swarm_persistence.clock import now
from swarm_persistence.models.base import Model
from swarm_persistence.models.grouped import Tagged


class MetricModel(Model, Tagged, kw_only=True):
    """One measured number, with its unit and tags."""

    agent_id: str | None = None
    metric_type: str
    value: float
    unit: str
    tags: dict[str, str] = {}
    timestamp: datetime = msgspec.field(default_factory=now)
    group: str | None = None

    @classmethod
    def new(
        cls,
        metric_type: str,
        value: float,
        unit: str,
        *,
        agent_id: str | None = None,
        tags: Mapping[str, str] | None = None,
        group: str | None = None,
    ) -> Self:
        """Return a metric with an id of its own, of this moment."""
        return cls(
            metric_type=metric_type, value=value, unit=unit, agent_id=agent_id, tags=dict(tags or {}), group=group
        )

    def with_agent(self, agent_id: str) -> Self:
        """Return the same metric, measured by an agent."""
        return msgspec.structs.replace(self, agent_id=agent_id)

    def with_tag(self, key: str, value: str) -> Self:
        """Return the same metric with one tag more."""
        return msgspec.structs.replace(self, tags={**self.tags, key: value})
