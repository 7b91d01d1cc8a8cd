"""The worker's entry among the agents: made or taken over, kept alive, and signed off."""

import logging

import msgspec

from swarm_persistence.errors import ConflictError, NotFoundError
from swarm_persistence.models import AgentModel, AgentStatus
from swarm_persistence.models.identifiers import new_id
from swarm_persistence.storage import Storage

INCARNATION = "incarnation"
"""The key in a registered agent's metadata that tells which of several workers of one name came last."""

_GIVEN_UP = (AgentStatus.ERROR, AgentStatus.SHUTDOWN)

_log = logging.getLogger("swarm_persistence")


class Registration:
    """Keeps the stored agent as its worker is; the agent's object is brought up to date."""

    def __init__(self, storage: Storage, agent: AgentModel) -> None:
        self._storage = storage
        self._agent = agent
        self._incarnation = new_id()

    async def register(self) -> None:
        """Store the agent as active, or take over the stored one of its id, as its next incarnation.

        What the earlier one had claimed stays claimed until its leases run out: it may be alive.
        """
        agent = self._agent
        agent.set_status(AgentStatus.ACTIVE)
        agent.metadata = {**agent.metadata, INCARNATION: self._incarnation}
        while True:
            try:
                # First the sign of life, by the storage's clock: with an old one, the agent would be given up at once.
                await self._storage.heartbeat(agent.id)
                self._show(await self._storage.modify(AgentModel, agent.id, self._taken_over))
                return
            except NotFoundError:
                pass
            try:
                self._show(await self._storage.run_transaction(self._store))
            except ConflictError:
                continue  # another process was faster: take that one over
            return

    async def beat(self) -> None:
        """Store a sign of life; come back if the swarm has given this agent up, or an earlier worker has signed off."""
        try:
            await self._storage.heartbeat(self._agent.id)
        except NotFoundError:
            _log.warning("agent %r was deleted while its worker was at work; registering it anew", self._agent.id)
            await self.register()
            return
        stored = await self._storage.get_agent(self._agent.id)
        if stored is not None and stored.status in _GIVEN_UP:
            _log.warning("agent %r was marked as %s, and is alive", self._agent.id, stored.status)
            await self.register()

    async def sign_off(self) -> None:
        """Mark the agent as shut down, unless a later worker of its name has taken it over."""

        def shut_down(stored: AgentModel) -> None:
            if stored.metadata.pop(INCARNATION, self._incarnation) != self._incarnation:
                raise _TakenOverError
            stored.set_status(AgentStatus.SHUTDOWN)

        try:
            self._show(await self._storage.modify(AgentModel, self._agent.id, shut_down))
        except NotFoundError:
            _log.warning("agent %r was deleted while its worker was at work", self._agent.id)
        except _TakenOverError:
            _log.info("agent %r is another worker's by now", self._agent.id)

    async def _store(self) -> AgentModel:
        fresh = msgspec.structs.replace(self._agent, version=0)
        await self._storage.store_agent(fresh)
        await self._storage.heartbeat(fresh.id)
        stored = await self._storage.get_agent(fresh.id)
        assert stored is not None
        return stored

    def _taken_over(self, stored: AgentModel) -> AgentModel:
        kept = {field: getattr(stored, field) for field in ("created_at", "heartbeat", "version")}
        return msgspec.structs.replace(self._agent, **kept)

    def _show(self, stored: AgentModel) -> None:
        for field in stored.__struct_fields__:
            setattr(self._agent, field, getattr(stored, field))


class _TakenOverError(Exception):
    """The stored agent is that of a later worker."""
