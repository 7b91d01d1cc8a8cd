"""The agents, and the page of one."""

import asyncio
from urllib.parse import unquote

from litestar import Response, get
from litestar.params import FromPath

from swarm_persistence import QueryBuilder, TaskModel
from swarm_persistence.query.task_statuses import HELD
from swarm_persistence.web.dependencies import InjectedStorage, InjectedVisit
from swarm_persistence.web.page.rendering import render

_MOST_AGENTS = 500
_MOST_TASKS = 25
_MOST_EVENTS = 25


@get("/agents", include_in_schema=False)
async def agents(storage: InjectedStorage, visit: InjectedVisit) -> Response[str]:
    """List the agents, the newest first."""
    found = await storage.get_agent_liveness(_MOST_AGENTS + 1)
    return render(visit, "agents.html", agents=found[:_MOST_AGENTS], has_more=len(found) > _MOST_AGENTS, again_in=5.0)


@get("/agents/{id:str}", include_in_schema=False)
async def agent(storage: InjectedStorage, visit: InjectedVisit, id: FromPath[str]) -> Response[str]:
    """Show an agent, its tasks and its events; one that is not registered as well."""
    agent_id = unquote(id)
    of_agent = QueryBuilder(TaskModel).where_eq("assigned_to", agent_id)
    held = of_agent.where_in("status", HELD)
    repository = storage.repository(TaskModel)
    found, holds, latest, events = await asyncio.gather(
        storage.get_agent(agent_id),
        repository.query(held.where_not_null("lease_expires_at").order_by("lease_expires_at").limit(_MOST_TASKS)),
        repository.query(of_agent.order_by("created_at", desc=True).limit(_MOST_TASKS)),
        storage.get_events_by_agent(agent_id, _MOST_EVENTS),
    )
    return render(visit, "agent.html", id=agent_id, agent=found, held=holds, latest=latest, events=events, again_in=5.0)
