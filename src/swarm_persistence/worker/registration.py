"""The worker's entry among the agents: made or taken over, kept alive, and signed off."""

import logging

import msgspec

from swarm_persistence.clock import now
from swarm_persistence.errors import ConflictError, NotFoundError
from swarm_persistence.models import AgentModel, AgentStatus
from swarm_persistence.storage import Storage

_log = logging.getLogger("swarm_persistence")


class Registration:
    """Keeps the stored agent as its worker is; the agent's object is brought up to date."""

    def __init__(self, storage: Storage, agent: AgentModel) -> None:
        self._storage = storage
        self._agent = agent

    async def register(self) -> None:
        """Store the agent as active, or take over the stored one of its id, as its next incarnation.

        What the earlier one had claimed stays claimed until its leases run out: it may be alive.
        """
        agent = self._agent
        agent.set_status(AgentStatus.ACTIVE)
        agent.heartbeat = now()
        while True:
            try:
                self._show(await self._storage.modify(AgentModel, agent.id, self._taken_over))
                return
            except NotFoundError:
                pass
            try:
                fresh = msgspec.structs.replace(agent, version=0)
                await self._storage.store_agent(fresh)
            except ConflictError:
                continue  # another process was faster: take that one over
            self._show(fresh)
            return

    async def beat(self) -> None:
        """Store a sign of life; come back if the swarm has given this agent up."""
        try:
            await self._storage.heartbeat(self._agent.id)
        except NotFoundError:
            _log.warning("agent %r was deleted while its worker was at work; registering it anew", self._agent.id)
            await self.register()
            return
        stored = await self._storage.get_agent(self._agent.id)
        if stored is not None and stored.status is AgentStatus.ERROR:
            _log.warning("agent %r was taken for dead, and is alive", self._agent.id)
            await self.register()

    async def sign_off(self) -> None:
        """Mark the agent as shut down."""

        def shut_down(stored: AgentModel) -> None:
            stored.set_status(AgentStatus.SHUTDOWN)

        try:
            self._show(await self._storage.modify(AgentModel, self._agent.id, shut_down))
        except NotFoundError:
            _log.warning("agent %r was deleted while its worker was at work", self._agent.id)

    def _taken_over(self, stored: AgentModel) -> AgentModel:
        return msgspec.structs.replace(self._agent, created_at=stored.created_at, version=stored.version)

    def _show(self, stored: AgentModel) -> None:
        for field in stored.__struct_fields__:
            setattr(self._agent, field, getattr(stored, field))
