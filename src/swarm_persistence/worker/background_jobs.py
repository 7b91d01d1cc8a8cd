"""The background jobs of a worker: heartbeats, recovery, checks of claims, schedules, pruning, a warning."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial

from msgspec import structs

from swarm_persistence.backoff import Backoff
from swarm_persistence.clock import now
from swarm_persistence.errors import ClosedError, StorageError
from swarm_persistence.models import DocumentModel, TaskModel
from swarm_persistence.storage import Pruned, Storage
from swarm_persistence.storage.schedule_times import LATE_SECONDS
from swarm_persistence.worker import unhandled_types
from swarm_persistence.worker.logs import worker_log
from swarm_persistence.worker.task_runs import WorkerSettings

_LONGEST_RECOVERY_SECONDS = 60.0
_CHECK_PAUSE_SECONDS = 0.05
"""The pause between checks of the held claims: a busy swarm commits far more often than claims are lost."""

_LONGEST_SLEEP_SECONDS = LATE_SECONDS / 2
"""The longest wait: a resumed machine or a changed clock wakes no waiter, and `CatchUp.SKIP` skips late times."""

_COLLECTION, _KEY = ("swarm-persistence",), "retention"
"""The place of the document that a pruning worker puts; until it has expired, no other worker prunes."""

_LONGEST_PRUNING_PAUSE_SECONDS = 3_600.0
_SHORTEST_PRUNING_PAUSE_SECONDS = 1.0

_log = logging.getLogger(__name__)


class BackgroundJobs:
    """Runs the jobs as tasks of the worker's loop, from `start` to `cancel`.

    A storage error is logged, and the job is repeated after its pause; any other error stops the worker.
    """

    def __init__(
        self,
        storage: Storage,
        agent_id: str,
        settings: WorkerSettings,
        fail: Callable[[Exception], None],
        *,
        claimed_tasks: Callable[[], list[TaskModel]],
        lost: Callable[[TaskModel], None],
    ) -> None:
        """Take what stops the worker with an error, what returns the claimed tasks, and what is called with lost ones.

        A claim is lost if a commit from now on ends it while its handler still runs.
        """
        self._storage = storage
        self._agent_id = agent_id
        self._settings = settings
        self._fail = fail
        self._claimed_tasks = claimed_tasks
        self._lost = lost
        self._commits = storage.watch_commits(TaskModel)
        self._log = worker_log(_log, agent_id)
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, send_heartbeat: Callable[[], Awaitable[None]]) -> None:
        """Start the jobs; `send_heartbeat` sends a heartbeat."""
        recovery_pause = min(self._settings.limits.lease / 2, _LONGEST_RECOVERY_SECONDS)
        jobs = [
            self._repeat("the heartbeat", send_heartbeat, self._settings.heartbeat_pause),
            self._repeat("the recovery", self._recover, recovery_pause),
            self._repeat("the check of claims", self._check_claims, _CHECK_PAUSE_SECONDS),
            self._warn_of_unhandled_types(),
        ]
        if self._settings.fires_schedules:
            jobs.append(self._fire_schedules())
        if (seconds := self._settings.retention) is not None:
            jobs.append(self._repeat("the pruning", partial(self._prune, seconds), pause_of(seconds)))
        self._tasks = [asyncio.create_task(job) for job in jobs]

    def cancel(self) -> list[asyncio.Task[None]]:
        """Cancel the jobs, and return their tasks, which end soon."""
        self._commits.close()
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
        pruned = await prune_if_due(self._storage, seconds, self._agent_id)
        if pruned is not None and any(structs.astuple(pruned)):
            self._log.info("worker %r has pruned old records: %s", self._agent_id, pruned)

    async def _check_claims(self) -> None:
        """Wait for a commit, and report each claimed task whose claim no longer holds."""
        await self._commits.wait()
        if not (tasks := self._claimed_tasks()):
            return
        held = {id(task) for task in await self._storage.get_held_claims(tasks)}
        for task in tasks:
            if id(task) not in held:
                self._lost(task)

    async def _fire_schedules(self) -> None:
        """Store the tasks of due schedules, of which one worker stores each, and wait until the next one is due."""
        backoff = Backoff()
        watch = self._storage.watch_schedules()
        try:
            while True:
                try:
                    await self._storage.fire_due_schedules()
                    await watch.wait(_LONGEST_SLEEP_SECONDS)
                except ClosedError:
                    raise
                except StorageError as error:
                    pause = backoff.next()
                    self._log.error(
                        "worker %r cannot fire schedules; the next attempt is in %.1f s: %s",
                        self._agent_id,
                        pause,
                        error,
                    )
                    await asyncio.sleep(pause)
                else:
                    backoff.reset()
        except Exception as error:
            self._fail(error)
        finally:
            watch.close()

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


def pause_of(retention: float) -> float:
    """Return the seconds between prunings: an hour, or a tenth of a retention shorter than ten hours."""
    return max(_SHORTEST_PRUNING_PAUSE_SECONDS, min(_LONGEST_PRUNING_PAUSE_SECONDS, retention / 10))


async def prune_if_due(storage: Storage, retention: float, agent_id: str) -> Pruned | None:
    """Prune records older than the retention; `None` if another worker has started that within the pause."""
    expiry = now() + timedelta(seconds=pause_of(retention))
    turn = DocumentModel.new(_COLLECTION, _KEY, {"agent": agent_id}, expires_at=expiry)
    if (await storage.put_documents([], if_absent=[turn])).kept:
        return None
    return await storage.prune(retention)
