"""Registers the worker's agent, keeps it alive with heartbeats, and signs it off."""

import logging
from collections.abc import Iterable

import msgspec

from swarm_persistence.errors import ConflictError, NotFoundError
from swarm_persistence.models import AgentModel, AgentStatus
from swarm_persistence.models.identifiers import new_id
from swarm_persistence.storage import Storage
from swarm_persistence.worker.logs import worker_log
from swarm_persistence.worker.own_process import is_gone, own_process

INCARNATION = "incarnation"
"""The key in an agent's metadata that identifies the worker which registered it last."""

PROCESS = "process"
"""The key in an agent's metadata that names the process of that worker."""

TASK_TYPES = "task_types"
"""The key in an agent's metadata that lists the task types which that worker handles."""

GONE = (AgentStatus.ERROR, AgentStatus.SHUTDOWN)
"""The statuses of an agent whose worker no longer counts as running."""

_log = logging.getLogger(__name__)


class Registration:
    """The stored agent of one worker; the caller's object is kept up to date with it."""

    def __init__(self, storage: Storage, agent: AgentModel, task_types: Iterable[str]) -> None:
        self._task_types = sorted(task_types)
        self._storage = storage
        self._agent = agent
        self._log = worker_log(_log, agent.id)
        self._incarnation = new_id()
        self._process = own_process()
        self._earlier: object = None
        """The process of the incarnation that was taken over."""

    async def register(self) -> None:
        """Store the agent as active, or take over the stored agent of its id as the next incarnation.

        What a previous incarnation held is released if its process is gone from this machine. Otherwise it may still be
        alive, so its tasks stay claimed until their leases expire.
        """
        agent = self._agent
        agent.set_status(AgentStatus.ACTIVE)
        agent.metadata = {**agent.metadata, INCARNATION: self._incarnation, TASK_TYPES: self._task_types}
        if self._process is not None:
            agent.metadata[PROCESS] = self._process
        while True:
            try:
                # First a heartbeat by the storage's clock: with an old one, the agent would be marked as lost at once.
                await self._storage.heartbeat(agent.id)
                self._show(await self._storage.modify(AgentModel, agent.id, self._taken_over))
                await self._take_over_tasks()
                return
            except NotFoundError:
                pass
            try:
                self._show(await self._storage.run_transaction(self._store))
            except ConflictError:
                continue  # another process has stored it meanwhile: take that one over
            return

    async def send_heartbeat(self) -> None:
        """Send a heartbeat; register again if the agent was marked as lost, shut down or deleted."""
        try:
            await self._storage.heartbeat(self._agent.id)
        except NotFoundError:
            self._log.warning("agent %r was deleted while its worker was running; registering it again", self._agent.id)
            await self.register()
            return
        stored = await self._storage.get_agent(self._agent.id)
        if stored is not None and stored.status in GONE:
            self._log.warning(
                "agent %r was marked as %s although its worker is running; registering it again",
                self._agent.id,
                stored.status,
            )
            await self.register()

    async def sign_off(self) -> None:
        """Mark the agent as shut down, unless a later worker has taken it over."""

        def shut_down(stored: AgentModel) -> None:
            if stored.metadata.pop(INCARNATION, self._incarnation) != self._incarnation:
                raise _TakenOverError
            for key in (PROCESS, TASK_TYPES):
                stored.metadata.pop(key, None)
            stored.set_status(AgentStatus.SHUTDOWN)

        try:
            self._show(await self._storage.modify(AgentModel, self._agent.id, shut_down))
        except NotFoundError:
            self._log.warning("agent %r was deleted while its worker was running", self._agent.id)
        except _TakenOverError:
            self._log.info("agent %r was taken over by another worker", self._agent.id)

    async def _store(self) -> AgentModel:
        fresh = msgspec.structs.replace(self._agent, version=0)
        await self._storage.store_agent(fresh)
        await self._storage.heartbeat(fresh.id)
        stored = await self._storage.get_agent(fresh.id)
        assert stored is not None
        return stored

    async def _take_over_tasks(self) -> None:
        if is_gone(self._earlier):
            released = await self._storage.release_tasks_of(self._agent.id)
            if released:
                self._log.info("worker %r has released what its last process held: %s", self._agent.id, released)

    def _taken_over(self, stored: AgentModel) -> AgentModel:
        self._earlier = stored.metadata.get(PROCESS)
        kept = {field: getattr(stored, field) for field in ("created_at", "heartbeat", "version")}
        return msgspec.structs.replace(self._agent, **kept)

    def _show(self, stored: AgentModel) -> None:
        for field in stored.__struct_fields__:
            setattr(self._agent, field, getattr(stored, field))


class _TakenOverError(Exception):
    """A later worker has taken the agent over."""
