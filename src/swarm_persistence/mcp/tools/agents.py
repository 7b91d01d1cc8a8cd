"""The tools of agents."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from msgspec import Meta

from swarm_persistence import AgentModel, AgentStatus, ConflictError, QueryBuilder, Storage
from swarm_persistence.mcp.tools.parameters import AgentId, NewGroup, NewTags

_MOST_AGENTS = 50


async def register_agent(
    storage: Storage,
    *,
    name: Annotated[str, Meta(description="A readable name, such as 'researcher-1'.")],
    agent_type: Annotated[str, Meta(description="The role, such as 'researcher' or 'coder'.")],
    capabilities: Annotated[Sequence[str], Meta(description="What you can do, such as task types.")] = (),
    agent_id: Annotated[
        str | None,
        Meta(description="Your id from an earlier session, to continue as the same agent. Default: a new id."),
    ] = None,
    metadata: Annotated[dict[str, Any] | None, Meta(description="Anything else to keep about you.")] = None,
    group: NewGroup = None,
    tags: NewTags = None,
) -> dict[str, Any]:
    """Join the swarm. Call this first, and keep the returned agent_id: the other tools ask for it.

    Registering a known agent_id again replaces its name, type, capabilities, metadata, group and tags.
    """
    agent = AgentModel.new(name, agent_type, capabilities, metadata=metadata, group=group, tags=tags)
    agent.status = AgentStatus.ACTIVE
    if agent_id is not None:
        agent.id = agent_id
    try:
        await storage.store_agent(agent)
    except ConflictError:
        await storage.modify(AgentModel, agent.id, lambda stored: _renewed(stored, agent))
        return {"agent_id": agent.id, "registered": "again"}
    return {"agent_id": agent.id, "registered": "new"}


async def heartbeat(
    storage: Storage,
    *,
    agent_id: AgentId,
    status: Annotated[
        Literal["initializing", "active", "idle", "busy", "paused", "error", "shutdown"] | None,
        Meta(description="Your new status. Default: unchanged."),
    ] = None,
) -> dict[str, Any]:
    """Tell the swarm that you are alive. Call it every few minutes, and with 'shutdown' when you leave."""
    await storage.heartbeat(agent_id)
    if status is not None:
        await storage.modify(AgentModel, agent_id, lambda stored: stored.set_status(status))
    return {"agent_id": agent_id, "heartbeat": "recorded"}


async def list_agents(storage: Storage) -> dict[str, Any]:
    """Return the agents that were last heard of."""
    agents = storage.repository(AgentModel)
    latest = QueryBuilder(AgentModel).order_by("heartbeat", desc=True).limit(_MOST_AGENTS)
    count, found = await asyncio.gather(agents.count(), agents.query(latest))
    answer: dict[str, Any] = {"agents": [_shown(agent) for agent in found]}
    if count > len(found):
        answer["agents_not_shown"] = count - len(found)
    return answer


def _shown(agent: AgentModel) -> dict[str, Any]:
    silence = (datetime.now(UTC) - agent.heartbeat).total_seconds()
    return {
        "agent_id": agent.id,
        "name": agent.name,
        "agent_type": agent.agent_type,
        "status": agent.status.value,
        "capabilities": agent.capabilities,
        "heartbeat_seconds_ago": round(max(silence, 0), 1),
    }


def _renewed(stored: AgentModel, agent: AgentModel) -> None:
    stored.name, stored.agent_type = agent.name, agent.agent_type
    stored.capabilities, stored.metadata = agent.capabilities, agent.metadata
    stored.group, stored.tags = agent.group, agent.tags
    stored.set_status(AgentStatus.ACTIVE)
    stored.update_heartbeat()
