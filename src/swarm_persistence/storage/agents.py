"""The verbs of agents."""

from swarm_persistence.engines.reads import Select
from swarm_persistence.engines.steps import Delete, IfChanged, Step, Update
from swarm_persistence.models import AgentModel, AgentStatus, ClaimOutcome
from swarm_persistence.query.query import Condition, Order, Query
from swarm_persistence.query.task_statuses import IS_HELD
from swarm_persistence.query.values import query_value
from swarm_persistence.schema.tables import AGENTS, TASKS
from swarm_persistence.schema.values import identifier
from swarm_persistence.storage.core import StorageCore, by_id
from swarm_persistence.storage.held_claims import releasing
from swarm_persistence.storage.rewriting import update
from swarm_persistence.storage.storing import store

_NEWEST_FIRST = (Order("created_at", is_descending=True),)


class AgentVerbs(StorageCore):
    """Agents: store, read, update, delete, list."""

    async def store_agent(self, agent: AgentModel) -> AgentModel:
        """Store a new agent, raise its `version`, and return it.

        Raises:
            ConflictError: the id is taken; the stored agent is unchanged.
            SerializationError: a field's value cannot be stored; nothing was written.

        """
        return await store(self, AGENTS, agent)

    async def get_agent(self, id: str) -> AgentModel | None:
        """Return the agent, or `None` if there is none with this id."""
        return await self._get(AGENTS, id)

    async def update_agent(self, agent: AgentModel, *, force: bool = False) -> None:
        """Replace the stored agent by this one, and raise its `version`.

        Raises:
            NotFoundError: no agent has this id.
            ConflictError: the stored agent has changed since this copy was read; `force=True` overwrites it.
            SerializationError: a field's value cannot be stored; nothing was written.

        """
        await update(self, AGENTS, agent, force)

    async def delete_agent(self, id: str) -> None:
        """Atomically delete the agent, if it exists, and make its unfinished tasks pending again.

        Its events, messages and metrics are kept as history.
        """
        await self._executor().write(steps_to_delete_agent(id))

    async def list_agents(self) -> list[AgentModel]:
        """Return all agents, newest first."""
        return await self._executor().read(Select(Query(AGENTS, order=_NEWEST_FIRST)))

    async def list_agents_by_status(self, status: AgentStatus | str) -> list[AgentModel]:
        """Return the agents with this status, newest first; an unknown status raises `InvalidQueryError`."""
        value = query_value(AGENTS.column("status"), status, "agent.status")
        return await self._executor().read(Select(Query(AGENTS, (Condition("status", "=", value),), _NEWEST_FIRST)))


def steps_to_delete_agent(id: str) -> list[Step]:
    """Return the steps that delete an agent and make its unfinished tasks pending again."""
    agent_id = identifier(id, "agent.id")
    return [Delete(by_id(AGENTS, agent_id)), _release(agent_id)]


def step_to_delete_agent(id: str, conditions: tuple[Condition, ...]) -> Step:
    """Return the step that deletes an agent, if it matches conditions, and then makes its tasks pending again."""
    return IfChanged(Delete(Query(AGENTS, (Condition("id", "=", id), *conditions))), (_release(id),))


def _release(agent_id: str) -> Step:
    return Update(Query(TASKS, (Condition("assigned_to", "=", agent_id), IS_HELD)), releasing(ClaimOutcome.RELEASED))
