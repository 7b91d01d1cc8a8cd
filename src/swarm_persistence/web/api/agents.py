"""Agents over HTTP."""

from litestar import Response, Router, delete, post

from swarm_persistence import AgentModel
from swarm_persistence.web.answers import record_answer
from swarm_persistence.web.api.parameters import IfMatch
from swarm_persistence.web.api.records import change_handler, common_handlers, delete_if_it_matches, existing
from swarm_persistence.web.dependencies import InjectedStorage, RecordId


@post("/{id:str}/heartbeat", status_code=200)
async def heartbeat(record_id: RecordId, storage: InjectedStorage) -> Response[AgentModel]:
    """Record that the agent is alive; those that are silent for long lose their tasks."""
    await storage.heartbeat(record_id)
    return record_answer(await existing(storage, AgentModel, record_id))


@delete("/{id:str}")
async def delete_agent(record_id: RecordId, storage: InjectedStorage, if_match: IfMatch = None) -> None:
    """Delete an agent, if there is one, and make its unfinished tasks pending again."""
    if if_match is None:
        await storage.delete_agent(record_id)
    else:
        await delete_if_it_matches(storage, await storage.get_agent(record_id), if_match)


ROUTER = Router(
    "/agents",
    route_handlers=[
        *common_handlers(AgentModel),
        change_handler(AgentModel),
        delete_agent,
        heartbeat,
    ],
    tags=["agents"],
)
