"""The tools of metrics."""

from typing import Annotated, Any

from msgspec import Meta

from swarm_persistence import MetricModel, Storage
from swarm_persistence.mcp.tools.parameters import NewGroup


async def record_metric(
    storage: Storage,
    *,
    metric_type: Annotated[str, Meta(description="What was measured, such as 'tokens_used'.")],
    value: Annotated[float, Meta(description="The number.")],
    unit: Annotated[str, Meta(description="Its unit, such as 'tokens', 'seconds' or 'usd'.")],
    agent_id: Annotated[str | None, Meta(description="The agent that measured it, such as you.")] = None,
    tags: Annotated[dict[str, str] | None, Meta(description="Texts that tell it from others of its type.")] = None,
    group: NewGroup = None,
) -> dict[str, Any]:
    """Record a measured number; the swarm's operators see averages and sums over time."""
    metric = MetricModel.new(metric_type, value, unit, agent_id=agent_id, tags=tags, group=group)
    await storage.store_metric(metric)
    return {"metric_id": metric.id}
