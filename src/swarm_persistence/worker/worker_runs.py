"""The main loop of a worker: each write records the collected results and claims the next tasks.

While one write is in flight, another one starts once enough results for it are collected.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any

from swarm_persistence.background import HAS_THREADS
from swarm_persistence.errors import ClosedError, StorageError
from swarm_persistence.models import AgentModel, TaskModel
from swarm_persistence.storage import Storage
from swarm_persistence.worker import pace
from swarm_persistence.worker.background_jobs import BackgroundJobs
from swarm_persistence.worker.blocked_loops import LoopGuard
from swarm_persistence.worker.claim_waits import ClaimWaits
from swarm_persistence.worker.claimed_ahead import ClaimedAhead, WaitingTask
from swarm_persistence.worker.handler_control import HandlerControl
from swarm_persistence.worker.logs import worker_log
from swarm_persistence.worker.pending_releases import PendingReleases, release_once
from swarm_persistence.worker.recording import Outcome, not_written
from swarm_persistence.worker.registration import Registration
from swarm_persistence.worker.task_runs import RunTimer, TaskRun, WorkerSettings
from swarm_persistence.worker.threads import HandlerThreads
from swarm_persistence.worker.writes_in_flight import UNANSWERED_SECONDS, WritesInFlight

_IDLE_CHECK_SECONDS = 0.05
_SIGN_OFF_SECONDS = 2.0

_log = logging.getLogger(__name__)


class WorkerRun:
    """Claims tasks for the free slots and, of quick ones, some ahead; runs their handlers, and drains on a stop."""

    def __init__(
        self, storage: Storage, agent: AgentModel, registration: Registration, settings: WorkerSettings
    ) -> None:
        self.outcomes: Counter[str] = Counter()
        self._storage = storage
        self._agent = agent
        self._log = worker_log(_log, agent.id)
        self._registration = registration
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._is_stopping = False
        self._drain_timer: asyncio.TimerHandle | None = None
        self._changed = asyncio.Event()
        """Set when the main loop may have something to do."""
        self._threads = HandlerThreads(settings.concurrency, self._changed.set)
        self._ready_tasks = storage.watch_ready_tasks(task_types=settings.handlers, capabilities=agent.capabilities)
        self._claim_waits = ClaimWaits(agent.id, self._log, self._ready_tasks, self._changed.set)
        self._running: dict[TaskRun, None] = {}
        """The runs whose handlers have not ended, in the order of their starts; each takes a slot."""
        self._unsettled: dict[TaskRun, None] = {}
        self._handled: list[tuple[TaskRun, Any]] = []
        """The results that are to be recorded."""
        self._pace = pace.Pace()
        self._ahead = ClaimedAhead()
        self._longest_ahead = min(pace.LONGEST_WAIT_SECONDS, settings.limits.lease / 4)
        self._ahead_timer: asyncio.TimerHandle | None = None
        self._pending_releases = PendingReleases(storage, self._fail, self._changed.set)
        self._timer = RunTimer(lambda: self._running)
        self._jobs = BackgroundJobs(
            storage, agent.id, settings, self._fail, claimed_tasks=self._claimed_tasks, lost=self._lost
        )
        self._failure: Exception | None = None
        self._writes = WritesInFlight(agent.id, self._fail, self._changed.set)
        self._has_given_up = False
        self._was_cut_off = False
        """Whether the storage did not answer in time after the stop."""
        self._has_settled = asyncio.Event()

    async def until_idle(self) -> None:
        """Wait until no schedule is due, no task is claimed, and none is ready."""
        if self._settings.fires_schedules:
            await self._storage.fire_due_schedules()
        while True:
            self._has_settled.clear()
            if not self._is_busy and not await self._ready_tasks.is_any_ready() and not self._is_busy:
                return
            # Another worker may claim the ready task, of which this one is not notified.
            with suppress(TimeoutError):
                async with asyncio.timeout(_IDLE_CHECK_SECONDS):
                    await self._has_settled.wait()

    @property
    def _is_busy(self) -> bool:
        return bool(self._writes or self._unsettled or len(self._ahead) or self._pending_releases)

    def stop(self) -> None:
        """Claim no more; end once the running handlers have finished, or after `drain_timeout`."""
        if not self._is_stopping:
            self._is_stopping = True
            self._drain_timer = self._loop.call_later(self._settings.drain_timeout, self._cancel_and_release_all)
            if self._unsettled:
                self._log.info(
                    "worker %r stops; %d running task(s) may end and be recorded within %g s",
                    self._agent.id,
                    len(self._unsettled),
                    self._settings.drain_timeout,
                )
            self._writes.limit_claims()
            self._release_unstarted()
            self._changed.set()

    def stop_at_once(self) -> None:
        """Claim no more; cancel the running handlers and release their tasks."""
        self.stop()
        self._cancel_and_release_all()

    async def work(self) -> None:
        """Work until the stop; raise the error that has ended the work before."""
        self._jobs.start(self._registration.send_heartbeat)
        guard = LoopGuard(
            self._storage,
            self._agent.id,
            lambda: self._unsettled,
            self._settings.limits,
            self._settings.heartbeat_pause,
            release_ahead=self._release_ahead,
        )
        if HAS_THREADS:
            guard.start()
        try:
            await self._work_until_settled()
        finally:
            guard.stop()
            for timer in (self._drain_timer, self._ahead_timer):
                if timer is not None:
                    timer.cancel()
            self._timer.close()
            self._ready_tasks.close()
            self._threads.close()
            ending: list[Awaitable[Any]] = [*self._jobs.cancel(), *self._writes.cancel(), *self._claim_waits.cancel()]
            ending += [run.stop() for run in {**self._running, **self._unsettled}]
            await asyncio.gather(*ending, return_exceptions=True)
        await self._sign_off()
        if self._failure is not None:
            raise self._failure

    async def _work_until_settled(self) -> None:
        while not self._is_stopping or self._writes or self._unsettled or self._pending_releases:
            self._changed.clear()
            try:
                await self._cycle()
            except Exception as error:
                self._fail(error)

    async def _cycle(self) -> None:
        """Record the collected results and claim the next tasks, or wait until there is something to do."""
        if not self._writes:
            # Only now: what ended the wait may be later than a claim that is in flight, and that finds nothing.
            self._claim_waits.end_if_over()
            if self._handled:
                await self._collect()
        room = 0 if self._claim_waits.is_backing_off else self._room()
        if self._writes.may_record(len(self._handled)):
            handled, self._handled = self._handled, []
            self._writes.start(self._record(handled, room, is_running=self._is_slot_free_for_all(room)), room)
            return
        if room and not self._writes:
            if self._claim_waits.may_find_tasks:
                self._writes.start(self._claim(room, is_running=self._is_slot_free_for_all(room)), room)
                return
            self._claim_waits.wait_for_tasks()
        await self._changed.wait()

    async def _collect(self) -> None:
        """Let quick handlers end, so that one write records their results; slower ones run during the write."""
        enough = len(self._ahead) // 2
        seen = 0
        while len(self._ahead) > enough and len(self._handled) > seen:
            seen = len(self._handled)
            # One of these loop iterations runs the handler, and one its callback.
            await asyncio.sleep(0)
            await asyncio.sleep(0)

    async def _record(self, handled: list[tuple[TaskRun, Any]], room: int, *, is_running: bool) -> None:
        completions = [(run.task, result) for run, result in handled]
        started_at = time.monotonic()
        try:
            done = await self._writes.limited(
                self._storage.complete_and_claim(
                    completions,
                    self._agent.id,
                    limit=room,
                    task_types=self._settings.handlers,
                    capabilities=self._agent.capabilities,
                    lease=self._settings.limits.lease,
                    is_running=is_running,
                    ageing=self._settings.ageing,
                )
            )
        except TimeoutError:
            self._was_cut_off = True
            for run, _ in handled:
                run.log.error("%s", not_written(run.task))
                run.conclude(Outcome.LOST)
            return
        except Exception:
            # Alone, each is retried, and an error is that of its own task. A claim that fails again is logged.
            for run, result in handled:
                run.record(result, may_be_stored=True)
            return
        lost = {id(task) for task in done.lost}
        for run, result in handled:
            if id(run.task) in lost:
                run.record(result, may_be_stored=False)
            else:
                run.conclude(Outcome.COMPLETED)
        if room:
            self._pace.note_claim(time.monotonic() - started_at)
            self._take(done.claimed, started_at)

    async def _claim(self, room: int, *, is_running: bool) -> None:
        limits = self._settings.limits
        started_at = time.monotonic()
        try:
            tasks = await self._writes.limited(
                self._storage.claim_next_tasks(
                    self._agent.id,
                    limit=room,
                    task_types=self._settings.handlers,
                    capabilities=self._agent.capabilities,
                    lease=limits.lease,
                    is_running=is_running,
                    ageing=self._settings.ageing,
                ),
                is_claim=True,
            )
        except ClosedError:
            raise
        except TimeoutError:
            self._was_cut_off = True
            self._log.warning(
                "worker %r stops without an answer to its claim; the storage releases what it may have claimed",
                self._agent.id,
            )
        except StorageError as error:
            self._claim_waits.back_off(error)
        else:
            self._claim_waits.has_succeeded()
            self._take(tasks, started_at)

    def _take(self, tasks: list[TaskModel], claimed_at: float) -> None:
        """Take tasks that were claimed no earlier than at this time of the monotonic clock."""
        self._claim_waits.may_find_tasks = bool(tasks)
        self._ahead.add(tasks, claimed_at)
        if self._is_stopping:
            self._release_unstarted()  # stopped while they were being claimed
        self._start_what_fits()

    def _room(self) -> int:
        """Return how many tasks to claim."""
        if self._is_stopping:
            return 0
        free = self._free_slots()
        fresh, since = 0, time.monotonic() - pace.HORIZON_SECONDS
        for run in reversed(self._running):
            if run.started_at < since:
                break
            fresh += 1
        ahead = self._pace.ahead(max(free, 0) + fresh)
        return max(free + ahead - len(self._ahead) - self._writes.claiming, 0)

    def _free_slots(self) -> int:
        return self._settings.concurrency - len(self._running) - self._threads.abandoned

    def _is_slot_free_for_all(self, claimed: int) -> bool:
        """Tell whether the handlers of this number of further tasks would start at once."""
        return len(self._ahead) + self._writes.claiming + claimed <= self._free_slots()

    def _start_what_fits(self) -> None:
        # While the loop was blocked, or the process stopped, nothing has extended the leases of a claim in flight.
        self._release_if_waiting_for(self._settings.limits.lease)
        concurrency = self._settings.concurrency - self._threads.abandoned
        while len(self._running) < concurrency and (waiting := self._ahead.take()) is not None:
            self._start(waiting)
        if len(self._ahead) and self._ahead_timer is None:
            self._ahead_timer = self._loop.call_later(self._longest_ahead, self._release_overdue)

    def _start(self, waiting: WaitingTask) -> None:
        task = waiting.task
        run = self._run_of(task, waiting.claimed_at)
        self._running[run] = None
        self._timer.expect(run.due_at)
        run.start(self._handle_of(task, run.control))

    def _handle_of(self, task: TaskModel, control: HandlerControl) -> Callable[[TaskModel], Awaitable[Any]]:
        handler = self._settings.handlers[task.task_type]
        handle: Callable[[TaskModel], Awaitable[Any]] = partial(
            handler.handle, control=control, storage=self._storage, agent=self._agent, threads=self._threads
        )
        if (instrumentation := self._storage.instrumentation) is not None:
            handle = instrumentation.around(handle, self._agent.id)
        return handle

    def _run_of(self, task: TaskModel, claimed_at: float) -> TaskRun:
        run = TaskRun(
            self._storage,
            task,
            self._settings.limits,
            handler_name=self._settings.handlers[task.task_type].name,
            policy=self._settings.policies[task.task_type],
            control=HandlerControl(self._storage, task),
            owner=self,
            claimed_at=claimed_at,
        )
        self._unsettled[run] = None
        return run

    def on_result(self, run: TaskRun, result: Any) -> None:
        self._handled.append((run, result))
        self._changed.set()

    def on_handler_ended(self, run: TaskRun) -> None:
        del self._running[run]
        self._pace.note(time.monotonic() - run.started_at)
        self._start_what_fits()
        self._changed.set()

    def settled(self, run: TaskRun) -> None:
        if self._unsettled.pop(run, run) is None and run.outcome is not None:
            self.outcomes[run.outcome.value] += 1
        self._has_settled.set()
        self._changed.set()

    def expect(self, due_at: float) -> None:
        self._timer.expect(due_at)

    def failed(self, run: TaskRun, error: BaseException) -> None:
        if isinstance(error, Exception):
            self._fail(error)
        else:
            run.log.error("the run of %s of worker %r has ended", run.name, self._agent.id, exc_info=error)

    def _claimed_tasks(self) -> list[TaskModel]:
        return [*(run.task for run in self._running), *self._ahead.tasks]

    def _lost(self, task: TaskModel) -> None:
        if self._ahead.discard(task):
            return
        for run in self._running:
            if run.task is task:
                run.check_claim()
                break

    def _cancel_and_release_all(self) -> None:
        if not self._has_given_up:
            self._has_given_up = True
            self._writes.limit_all()
            if self._unsettled or self._pending_releases:
                self._log.info(
                    "worker %r hands its task(s) back: %d running, %d claimed ahead",
                    self._agent.id,
                    len(self._unsettled),
                    len(self._pending_releases),
                )
        for run in [*self._unsettled]:
            run.cancel_and_release()
        self._pending_releases.give_up()

    def _release_unstarted(self) -> None:
        for waiting in self._ahead.take_all():
            self._run_of(*waiting).cancel_and_release()

    def _release_overdue(self) -> None:
        """Release tasks that got no slot in time, as other workers may have one."""
        self._ahead_timer = None
        self._release_if_waiting_for(self._longest_ahead)
        self._start_what_fits()

    def _release_if_waiting_for(self, seconds: float) -> None:
        """Release the tasks that wait for a slot if the first one has waited for so long."""
        if late := self._ahead.take_overdue(seconds):
            self._pace.reset()
            self._pending_releases.begin(waiting.task for waiting in late)

    async def _release_ahead(self) -> None:
        """Release the tasks claimed ahead while the loop is blocked; called from another loop, with one try."""
        await release_once(self._storage, [waiting.task for waiting in self._ahead.take_all()])

    async def _sign_off(self) -> None:
        if isinstance(self._failure, ClosedError):
            return
        seconds = UNANSWERED_SECONDS if self._was_cut_off else _SIGN_OFF_SECONDS
        try:
            async with asyncio.timeout(seconds):
                await self._registration.sign_off()
        except TimeoutError:
            self._log.error(
                "agent %r could not be signed off within %g s; it is marked as lost once its heartbeat is too old",
                self._agent.id,
                seconds,
            )
        except StorageError as error:
            self._log.error("agent %r could not be signed off: %s", self._agent.id, error)

    def _fail(self, error: Exception) -> None:
        """Stop at once, with an error that no retry would resolve."""
        if self._failure is None:
            self._failure = error
            self._log.error("worker %r stops: %s", self._agent.id, error, exc_info=not isinstance(error, StorageError))
        self.stop_at_once()
