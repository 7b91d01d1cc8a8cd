"""Runs the handler of one claimed task, extends its lease meanwhile, and decides how it has ended."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import msgspec

from swarm_persistence.errors import ClosedError, LeaseLostError, StorageError
from swarm_persistence.models import TaskModel, TaskStatus
from swarm_persistence.storage import Storage
from swarm_persistence.worker.failures import members_of
from swarm_persistence.worker.handler_control import HandlerControl
from swarm_persistence.worker.handlers import Handler
from swarm_persistence.worker.logs import task_log
from swarm_persistence.worker.recording import Outcome, Recorder, name_of
from swarm_persistence.worker.retry_policies import DECISIONS, RetryPolicy, SnoozeTask, decision_of

if TYPE_CHECKING:
    from swarm_persistence.worker.logs import Log

CANCEL_GRACE_SECONDS = 5.0
"""How long a cancelled handler may clean up before its task is released anyway."""

MARKED_AFTER_SECONDS = 1.0
"""After this time, a running task that was claimed ahead is marked as running: quick ones need no write for that."""

_log = logging.getLogger(__name__)


class TaskLimits(NamedTuple):
    """The time limits of a task, in seconds."""

    lease: float
    task_timeout: float | None


class WorkerSettings(NamedTuple):
    """The settings of a worker; times in seconds."""

    handlers: Mapping[str, Handler]
    policies: Mapping[str, RetryPolicy]
    concurrency: int
    limits: TaskLimits
    drain_timeout: float
    heartbeat_timeout: float
    fires_schedules: bool
    retention: float | None = None
    ageing: float | None = None

    @property
    def heartbeat_pause(self) -> float:
        """Return the seconds between heartbeats, of which several may fail before the agent counts as lost."""
        return self.heartbeat_timeout / 5


class _HandlerEnd(Enum):
    HANDLED = 1
    GIVEN_UP = 2
    TIMED_OUT = 3
    LOST = 4


class _HandlerResult(NamedTuple):
    value: Any
    error: BaseException | None


class RunOwner(Protocol):
    """The callbacks of a run to its worker."""

    def on_result(self, run: "TaskRun", result: Any) -> None:
        """Take a result to record; the owner then calls `conclude` or `record`."""
        ...

    def on_handler_ended(self, run: "TaskRun") -> None:
        """Note that the handler has ended, so that another one may take its slot."""
        ...

    def settled(self, run: "TaskRun") -> None:
        """Note that nothing more will be written; the handler may still be running."""
        ...

    def expect(self, due_at: float) -> None:
        """Have `check_deadlines` called no later than at this time of the monotonic clock."""
        ...

    def failed(self, run: "TaskRun", error: BaseException) -> None:
        """Take an error that no retry would resolve."""
        ...


class TaskRun:
    """One claim of a task, from the start of its handler until its outcome is recorded.

    A handler that returns a result uses one asyncio task; any other outcome is recorded by another one.
    """

    def __init__(
        self,
        storage: Storage,
        task: TaskModel,
        limits: TaskLimits,
        *,
        handler_name: str,
        policy: RetryPolicy,
        control: HandlerControl,
        owner: RunOwner,
        claimed_at: float,
    ) -> None:
        """Take the task; its lease runs from `claimed_at` on, at the earliest, by the monotonic clock."""
        self.outcome: Outcome | None = None
        self.handler_name = handler_name
        self.handling: asyncio.Task[_HandlerResult] | None = None
        """The asyncio task that runs the handler; `None` before it starts, and once it has returned a result."""
        self.is_settled = False
        """Whether nothing more will be written; the handler may still be running."""
        self.task = task
        """The copy by which the claim is extended and ended."""
        self.started_at = time.monotonic()
        self._storage = storage
        # The handler gets a copy of its own, which it may change, or complete by itself.
        self._given = msgspec.structs.replace(task)
        self.control = control
        self._limits = limits
        self._policy = policy
        self._owner = owner
        self._recorder_or_none: Recorder | None = None
        self._has_begun = False
        self._end: _HandlerEnd | None = None
        self._ends_at = float("inf") if limits.task_timeout is None else self.started_at + limits.task_timeout
        # A third of the lease leaves two more attempts before it expires.
        self._extend_at = claimed_at + limits.lease / 3
        if task.status is not TaskStatus.RUNNING:
            self._extend_at = min(self._extend_at, self.started_at + MARKED_AFTER_SECONDS)
        self._extending: asyncio.Task[None] | None = None
        self._must_check_again = False
        self._recording: asyncio.Task[None] | None = None

    @property
    def due_at(self) -> float:
        """Return when `check_deadlines` must be called."""
        return float("inf") if self._end is not None else min(self._ends_at, self._extend_at)

    @property
    def log(self) -> "Log":
        """The logger adapter for this run's task, created on demand, as most runs log nothing."""
        return task_log(_log, self.task)

    @property
    def _recorder(self) -> Recorder:
        """Return the recorder of the outcome; results that are recorded along with others need none."""
        if self._recorder_or_none is None:
            self._recorder_or_none = Recorder(self._storage, self.task, self._given)
        return self._recorder_or_none

    @property
    def name(self) -> str:
        """Return the name of this run for messages."""
        return name_of(self.task)

    def start(self, handle: Callable[[TaskModel], Awaitable[Any]]) -> None:
        """Run the handler."""
        if _log.isEnabledFor(logging.DEBUG):
            self.log.debug("%s starts", self.name)
        self._has_begun = True
        self.handling = asyncio.create_task(self._answer(handle), name=f"handler of task {self.task.id}")
        self.handling.add_done_callback(self._handled)

    def cancel_and_release(self) -> None:
        """Cancel the handler and release the task."""
        self._recorder.give_up()
        self._stop_handler(_HandlerEnd.GIVEN_UP)

    def check_deadlines(self, now: float) -> None:
        """Cancel a handler that exceeds its time limit; extend a lease after a third of it."""
        if now >= self._ends_at:
            self._stop_handler(_HandlerEnd.TIMED_OUT)
        elif now >= self._extend_at:
            self._extend_at = float("inf")  # until the extension is done
            self._extend_now()

    def check_claim(self) -> None:
        """Check at once whether the claim still holds, rather than when its lease is next extended."""
        if not self._recorder.is_ended_by_handler:
            self._extend_now()

    async def extend_from_elsewhere(self) -> None:
        """Extend the lease from another loop while this run's own is blocked, but not beyond `task_timeout`."""
        if self.is_settled or time.monotonic() >= self._ends_at:
            return
        try:
            copy = msgspec.structs.replace(self.task)
            await self._storage.extend_lease(copy, lease=self._limits.lease, is_running=self._has_begun)
        except LeaseLostError:
            pass  # this run finds out as soon as its loop runs again
        except ClosedError:
            raise
        except StorageError as error:
            self.log.error("the lease of %s, whose event loop is blocked, could not be extended: %s", self.name, error)

    def conclude(self, outcome: Outcome) -> None:
        """Note the outcome, which has been recorded."""
        self.outcome = outcome
        self._settle()

    def record(self, result: Any, *, may_be_stored: bool) -> None:
        """Record a result by itself, with retries; an earlier write may have done that."""
        self._start_recording(self._recorder.complete(result, may_be_stored=may_be_stored))

    async def stop(self) -> None:
        """Stop waiting for the handler, or for anything else."""
        self.control.cancel()
        tasks = [task for task in (self._recording, self._extending, self.handling) if task is not None]
        for task in tasks:
            task.cancel()
        waited_for = [task for task in tasks if task is not self.handling]
        await asyncio.gather(*waited_for, return_exceptions=True)

    async def _answer(self, handle: Callable[[TaskModel], Awaitable[Any]]) -> _HandlerResult:
        try:
            return _HandlerResult(await handle(self._given), None)
        except (KeyboardInterrupt, asyncio.CancelledError):
            raise
        except BaseException as error:
            # Even sys.exit() in a handler fails its task only: else each worker that retries the task would exit.
            return _HandlerResult(None, error)

    def _handled(self, handling: "asyncio.Task[_HandlerResult]") -> None:
        self.control.end()
        if self._end is None:
            self._end = _HandlerEnd.HANDLED
            answer = None if handling.cancelled() or handling.exception() is not None else handling.result()
            if answer is not None and answer.error is None:
                # Many results wait for one write, and what they keep alive costs the garbage collector.
                self.handling = None
                self._owner.on_result(self, answer.value)
            else:
                self._start_recording(self._record_end(_HandlerEnd.HANDLED))
        self._owner.on_handler_ended(self)

    def _stop_handler(self, end: _HandlerEnd) -> None:
        """Cancel the handler unless it has ended, and record why."""
        if self._end is not None or (self.handling is not None and self.handling.done()):
            return
        self._end = end
        self.control.cancel()
        self._start_recording(self._record_end(end))

    async def _record_end(self, end: _HandlerEnd) -> Outcome:
        handling = self.handling
        if handling is not None and end is not _HandlerEnd.HANDLED:
            handling.cancel()
            await asyncio.wait((handling,), timeout=CANCEL_GRACE_SECONDS)
        if end is _HandlerEnd.LOST:
            return Outcome.LOST
        if end is _HandlerEnd.GIVEN_UP or handling is None:
            return await self._recorder.release()
        if end is _HandlerEnd.TIMED_OUT:
            return await self._fail(f"the handler took longer than {self._limits.task_timeout:g} s")
        if handling.cancelled():
            return await self._fail("the handler was cancelled")
        error = handling.result().error
        assert error is not None
        decision = decision_of(error)
        if not isinstance(decision, DECISIONS) or not all(isinstance(each, DECISIONS) for each in members_of(error)):
            self.log.warning("the handler of %s failed", self.name, exc_info=error)
        if isinstance(decision, SnoozeTask):
            return await self._recorder.snooze(decision.seconds)
        return await self._fail(decision)

    async def _fail(self, error: BaseException | str) -> Outcome:
        return await self._recorder.fail(self._policy.failure(error, self.task.retry_count))

    def _start_recording(self, recording: Awaitable[Outcome]) -> None:
        self._recording = asyncio.create_task(self._record(recording), name=f"task {self.task.id}")
        self._recording.add_done_callback(self._ended)

    async def _record(self, recording: Awaitable[Outcome]) -> None:
        handling = self.handling
        try:
            self.outcome = await recording
        finally:
            self._settle()
            if handling is not None:
                handling.cancel()
        if handling is not None and not handling.done():
            self.log.error(
                "the handler of %s keeps running although it was cancelled; it counts as one of `concurrency`",
                self.name,
            )

    def _ended(self, carrying: "asyncio.Task[None]") -> None:
        error = None if carrying.cancelled() else carrying.exception()
        if error is not None:
            self._owner.failed(self, error)

    def _settle(self) -> None:
        self.is_settled = True
        if self.outcome is not None and _log.isEnabledFor(logging.INFO):
            self.log.info("%s is %s after %.3f s", self.name, self.outcome, time.monotonic() - self.started_at)
        if self._extending is not None:
            self._extending.cancel()
        self._owner.settled(self)

    def _extend_now(self) -> None:
        if self._extending is not None:
            self._must_check_again = True  # the claim may have ended after the extension that is in flight
        elif self._end is None:
            self._must_check_again = False
            self._extending = asyncio.create_task(self._extend(), name=f"lease of task {self.task.id}")
            self._extending.add_done_callback(self._extended)

    async def _extend(self) -> None:
        """Extend the lease; if the claim is over, cancel the handler."""
        pause = self._limits.lease / 3
        try:
            await self._storage.extend_lease(self.task, lease=self._limits.lease, is_running=True)
        except LeaseLostError as error:
            if self._end is None and not self._recorder.is_ended_by_handler:
                self.log.warning("the handler of %s is cancelled: %s", self.name, error)
                self._stop_handler(_HandlerEnd.LOST)
        except ClosedError:
            raise
        except StorageError as error:
            # The claim may outlast its lease: it ends when a worker requeues the task.
            self.log.error("the lease of %s could not be extended: %s", self.name, error)
            pause /= 4
        self._extend_at = time.monotonic() + pause
        self._owner.expect(self._extend_at)

    def _extended(self, extending: "asyncio.Task[None]") -> None:
        self._extending = None
        if self._must_check_again:
            self._extend_now()
        error = None if extending.cancelled() else extending.exception()
        if error is not None:
            self._owner.failed(self, error)


class RunTimer:
    """One timer for the leases and time limits of all runs: it calls each run when something is due.

    A run is looked up again when the timer fires, not when it ends.
    """

    def __init__(self, runs: Callable[[], Iterable[TaskRun]]) -> None:
        self._loop = asyncio.get_running_loop()
        self._runs = runs
        self._due_at = float("inf")
        self._timer: asyncio.TimerHandle | None = None

    def expect(self, due_at: float) -> None:
        """Make the timer fire no later than at this time of the monotonic clock."""
        if due_at < self._due_at:
            self._set(due_at)

    def close(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()

    def _set(self, due_at: float) -> None:
        self.close()
        self._due_at = due_at
        self._timer = self._loop.call_later(max(due_at - time.monotonic(), 0), self._fire)

    def _fire(self) -> None:
        self._due_at = float("inf")
        now = time.monotonic()
        next_due_at = float("inf")
        for run in [*self._runs()]:
            run.check_deadlines(now)
            next_due_at = min(next_due_at, run.due_at)
        if next_due_at < float("inf"):
            self._set(next_due_at)
