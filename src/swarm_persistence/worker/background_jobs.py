"""The background jobs of a worker: heartbeats, recovery, checks of claims, schedules, pruning, a warning."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from functools import partial

from msgspec import structs

from swarm_persistence.errors import ClosedError, StorageError
from swarm_persistence.storage import Storage
from swarm_persistence.worker import retention, unhandled_types
from swarm_persistence.worker.logs import worker_log
from swarm_persistence.worker.schedules import fire_schedules
from swarm_persistence.worker.settings import WorkerSettings

_LONGEST_RECOVERY_SECONDS = 60.0
_CHECK_PAUSE_SECONDS = 0.05
"""The pause between checks of the held claims: a busy swarm commits far more often than claims are lost."""

_log = logging.getLogger(__name__)


class BackgroundJobs:
    """Runs the jobs as tasks of the worker's loop, from `start` to `cancel`.

    A storage error is logged, and the job is repeated after its pause; any other error stops the worker.
    """

    def __init__(
        self, storage: Storage, agent_id: str, settings: WorkerSettings, fail: Callable[[Exception], None]
    ) -> None:
        """Take the function that stops the worker with an error."""
        self._storage = storage
        self._agent_id = agent_id
        self._settings = settings
        self._fail = fail
        self._log = worker_log(_log, agent_id)
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, send_heartbeat: Callable[[], Awaitable[None]], check_claims: Callable[[], Awaitable[None]]) -> None:
        """Start the jobs; `send_heartbeat` sends a heartbeat, and `check_claims` looks for claims that are lost."""
        recovery_pause = min(self._settings.limits.lease / 2, _LONGEST_RECOVERY_SECONDS)
        jobs = [
            self._repeat("the heartbeat", send_heartbeat, self._settings.heartbeat_pause),
            self._repeat("the recovery", self._recover, recovery_pause),
            self._repeat("the check of claims", check_claims, _CHECK_PAUSE_SECONDS),
            self._warn_of_unhandled_types(),
        ]
        if self._settings.fires_schedules:
            jobs.append(self._fire_schedules())
        if (seconds := self._settings.retention) is not None:
            jobs.append(self._repeat("the pruning", partial(self._prune, seconds), retention.pause_of(seconds)))
        self._tasks = [asyncio.create_task(job) for job in jobs]

    def cancel(self) -> list[asyncio.Task[None]]:
        """Cancel the jobs, and return their tasks, which end soon."""
        for task in self._tasks:
            task.cancel()
        return self._tasks

    async def _repeat(self, name: str, action: Callable[[], Awaitable[None]], pause: float) -> None:
        while True:
            try:
                await action()
            except ClosedError as error:
                return self._fail(error)
            except StorageError as error:
                self._log.error("%s of worker %r failed: %s", name, self._agent_id, error)
            except Exception as error:
                return self._fail(error)
            # Jitter: workers that were started together should not do this at the same time.
            await asyncio.sleep(pause * random.uniform(0.7, 1.0))

    async def _recover(self) -> None:
        recovery = await self._storage.requeue_expired_tasks(heartbeat_timeout=self._settings.heartbeat_timeout)
        if recovery.requeued or recovery.failed or recovery.lost_agents:
            self._log.info("worker %r has recovered tasks of lost workers: %s", self._agent_id, recovery)

    async def _prune(self, seconds: float) -> None:
        pruned = await retention.prune_if_due(self._storage, seconds, self._agent_id)
        if pruned is not None and any(structs.astuple(pruned)):
            self._log.info("worker %r has pruned old records: %s", self._agent_id, pruned)

    async def _fire_schedules(self) -> None:
        try:
            await fire_schedules(self._storage, self._agent_id)
        except Exception as error:
            self._fail(error)

    async def _warn_of_unhandled_types(self) -> None:
        await asyncio.sleep(unhandled_types.SETTLING_SECONDS)
        try:
            await unhandled_types.warn_of_unhandled_types(
                self._storage, self._agent_id, self._settings.handlers, self._settings.heartbeat_timeout
            )
        except ClosedError as error:
            self._fail(error)
        except StorageError as error:
            self._log.error("worker %r cannot tell which task types are not handled: %s", self._agent_id, error)
