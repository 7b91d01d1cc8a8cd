"""The main loop of a worker, from its first claim until every outcome is recorded."""

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from functools import partial
from typing import Any, NamedTuple

from swarm_persistence.background import HAS_THREADS
from swarm_persistence.backoff import Backoff
from swarm_persistence.errors import ClosedError, StorageError, UnreadableError
from swarm_persistence.models import AgentModel, TaskModel
from swarm_persistence.storage import Storage
from swarm_persistence.worker.blocked_loops import LoopGuard
from swarm_persistence.worker.handlers import Handler
from swarm_persistence.worker.lost_claims import LostClaimWatcher
from swarm_persistence.worker.registration import Registration
from swarm_persistence.worker.task_runs import TaskLimits, TaskRun
from swarm_persistence.worker.threads import HandlerThreads

_LONGEST_RECOVERY_SECONDS = 60.0
_LONGEST_WAIT_SECONDS = 60.0
"""After this time without a commit, the worker tries to claim all the same."""
_CHECK_PAUSE_SECONDS = 0.05
"""Between two checks of the held claims: a busy swarm commits far more often than claims are lost."""

_log = logging.getLogger("swarm_persistence")


class WorkerSettings(NamedTuple):
    """The settings of a worker; times in seconds."""

    handlers: Mapping[str, Handler]
    concurrency: int
    limits: TaskLimits
    drain_timeout: float
    heartbeat_timeout: float


class WorkerRun:
    """Claims tasks up to the concurrency, runs their handlers, and drains on a stop."""

    def __init__(
        self, storage: Storage, agent: AgentModel, registration: Registration, settings: WorkerSettings
    ) -> None:
        self.outcomes: Counter[str] = Counter()
        self._storage = storage
        self._agent = agent
        self._registration = registration
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._stopping, self._stopping_at_once, self._has_room = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._threads = HandlerThreads(settings.concurrency, self._has_room.set)
        self._ready_tasks = storage.watch_ready_tasks(task_types=settings.handlers)
        self._runs: dict[asyncio.Task[None], TaskRun] = {}
        self._lost_claims = LostClaimWatcher(storage, self._runs.values)
        self._failure: Exception | None = None

    def stop(self) -> None:
        """Claim no more; end once the running handlers have finished, or after `drain_timeout`."""
        self._stopping.set()

    def stop_at_once(self) -> None:
        """Claim no more; cancel the running handlers and release their tasks."""
        self._stopping.set()
        self._stopping_at_once.set()

    async def work(self) -> None:
        """Work until the stop; raise the error that has ended the work before."""
        beat, recover = self._registration.beat, self._recover
        heartbeat_pause = self._settings.heartbeat_timeout / 5
        recovery_pause = min(self._settings.limits.lease / 2, _LONGEST_RECOVERY_SECONDS)
        upkeep = [
            self._loop.create_task(self._repeat("the heartbeat", beat, heartbeat_pause)),
            self._loop.create_task(self._repeat("the recovery", recover, recovery_pause)),
            self._loop.create_task(self._repeat("the check of claims", self._lost_claims.check, _CHECK_PAUSE_SECONDS)),
        ]
        guard = LoopGuard(self._storage, self._agent.id, self._runs.values, self._settings.limits, heartbeat_pause)
        if HAS_THREADS:
            guard.start()
        try:
            try:
                await self._claim_until_stopped()
            except Exception as error:
                self._fail(error)
            await self._drain()
        finally:
            guard.stop()
            self._ready_tasks.close()
            self._lost_claims.close()
            self._threads.close()
            for task in upkeep:
                task.cancel()
            await asyncio.gather(*upkeep, return_exceptions=True)
        await self._sign_off()
        if self._failure is not None:
            raise self._failure

    async def _claim_until_stopped(self) -> None:
        backoff = Backoff()
        while not self._stopping.is_set():
            self._has_room.clear()
            room = self._settings.concurrency - len(self._runs) - self._threads.abandoned
            if room <= 0:
                await self._unless_stopped(self._has_room.wait())
                continue
            try:
                # Never cancelled by a stop: the worker must know of each committed claim, to release it.
                tasks = await self._storage.claim_next_tasks(
                    self._agent.id, limit=room, task_types=self._settings.handlers, lease=self._settings.limits.lease
                )
                for task in tasks:
                    self._start(task)
                backoff.reset()
                if not tasks:
                    await self._unless_stopped(self._ready_tasks.wait(_LONGEST_WAIT_SECONDS))
            except ClosedError:
                raise
            except StorageError as error:
                await self._unless_stopped(self._wait_after(error, backoff.next()))

    async def _wait_after(self, error: StorageError, pause: float) -> None:
        _log.error("worker %r cannot claim; the next attempt is in %.1f s: %s", self._agent.id, pause, error)
        if isinstance(error, UnreadableError):
            # No other task was ready. A new one must not wait until the backoff of the unreadable row is over.
            await self._ready_tasks.wait_for_commit(pause)
        else:
            await asyncio.sleep(pause)

    def _start(self, task: TaskModel) -> None:
        handler = self._settings.handlers[task.task_type]
        handle = partial(handler.handle, storage=self._storage, agent=self._agent, threads=self._threads)
        run = TaskRun(self._storage, task, handle, handler.name, self._settings.limits)
        carrying = self._loop.create_task(run.carry_out(), name=f"task {task.id}")
        self._runs[carrying] = run
        carrying.add_done_callback(self._finished)
        if self._stopping.is_set():
            run.give_back()  # stopped while it was being claimed

    def _finished(self, carrying: "asyncio.Task[None]") -> None:
        run = self._runs.pop(carrying)
        self._has_room.set()
        if run.outcome is not None:
            self.outcomes[run.outcome.value] += 1
        error = None if carrying.cancelled() else carrying.exception()
        if isinstance(error, Exception):
            self._fail(error)
        elif error is not None:
            _log.error("%s of worker %r has ended", carrying.get_name(), self._agent.id, exc_info=error)

    async def _drain(self) -> None:
        settled = self._loop.create_task(self._settled())
        stopping_at_once = self._loop.create_task(self._stopping_at_once.wait())
        try:
            await asyncio.wait(
                (settled, stopping_at_once), timeout=self._settings.drain_timeout, return_when=asyncio.FIRST_COMPLETED
            )
            for run in self._runs.values():
                run.give_back()
            await settled
        finally:
            stopping_at_once.cancel()
            settled.cancel()
            # The remaining runs wait for handlers that do not end; nothing more is to be written.
            stuck = list(self._runs)
            for carrying in stuck:
                carrying.cancel()
            await asyncio.gather(*stuck, return_exceptions=True)

    async def _settled(self) -> None:
        for run in list(self._runs.values()):
            await run.settled.wait()

    async def _repeat(self, name: str, action: Callable[[], Awaitable[None]], pause: float) -> None:
        while True:
            try:
                await action()
            except ClosedError as error:
                return self._fail(error)
            except StorageError as error:
                _log.error("%s of worker %r failed: %s", name, self._agent.id, error)
            except Exception as error:
                return self._fail(error)
            # Jitter: workers that were started together should not do this at the same time.
            await asyncio.sleep(pause * random.uniform(0.7, 1.0))

    async def _recover(self) -> None:
        recovery = await self._storage.requeue_expired_tasks(heartbeat_timeout=self._settings.heartbeat_timeout)
        if recovery.requeued or recovery.failed or recovery.lost_agents:
            _log.info("worker %r has recovered tasks of lost workers: %s", self._agent.id, recovery)

    async def _sign_off(self) -> None:
        if isinstance(self._failure, ClosedError):
            return
        try:
            await self._registration.sign_off()
        except StorageError as error:
            _log.error("agent %r could not be signed off: %s", self._agent.id, error)

    async def _unless_stopped(self, wait: Coroutine[Any, Any, Any]) -> None:
        """Await something that claims nothing, until the stop."""
        waits = [self._loop.create_task(wait), self._loop.create_task(self._stopping.wait())]
        try:
            done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waits:
                each.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
        for each in done:
            each.result()

    def _fail(self, error: Exception) -> None:
        """Stop at once, with an error that no retry would resolve."""
        if self._failure is None:
            self._failure = error
            _log.error("worker %r stops: %s", self._agent.id, error, exc_info=not isinstance(error, StorageError))
        self.stop_at_once()
