"""The worker: registers an agent, claims and handles tasks, and releases unfinished ones when it stops."""

import asyncio
import signal
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

from swarm_persistence.durations import seconds
from swarm_persistence.errors import InvalidQueryError, OtherError
from swarm_persistence.models import AgentModel
from swarm_persistence.storage import Storage
from swarm_persistence.storage.claim_requests import LEASE_SECONDS
from swarm_persistence.storage.recovery import HEARTBEAT_TIMEOUT_SECONDS
from swarm_persistence.worker import signals
from swarm_persistence.worker.handlers import handlers_by_type
from swarm_persistence.worker.registration import Registration
from swarm_persistence.worker.retry_policies import RetryPolicy, policies_by_type
from swarm_persistence.worker.task_runs import TaskLimits, WorkerSettings
from swarm_persistence.worker.worker_runs import WorkerRun

DRAIN_SECONDS = 30.0
"""The default time that running handlers have to finish after a stop."""


class Worker:
    """Claims tasks for an agent and runs their handlers, while its `async with` block is running.

    A handler takes a `TaskModel`, and a `WorkerContext` if it has a second argument without a default. Its return value
    is the task's result; an exception fails the task, which is retried as by `fail_task`, or as the worker's `retries`
    say. A handler that raises `FailTask`, `RetryTask` or `SnoozeTask` decides by itself. A blocking handler (a plain
    `def`) runs in a thread; an `async def` that blocks the event loop keeps its task, and a warning is logged. The
    task stays claimed as long as its handler runs. If the claim is lost, because the task was cancelled or given to
    another agent, the handler is cancelled, and its result is not written. A thread cannot be cancelled: it continues,
    and only its result is dropped.

    SIGTERM, SIGINT, `stop()` and the end of the block drain the worker: it claims no more, the running handlers may
    finish within `drain_timeout`, and the remaining tasks are released. A second signal releases all tasks at once; so
    does an exception in the block. If the block awaits anything but `run`, a signal or an error that stops the worker
    cancels it; the block then ends normally after a signal, and raises the error otherwise.

    If several workers have the same agent id, as during a rolling restart, `incarnation` in the agent's metadata
    identifies the latest one; an earlier one that stops leaves the agent unchanged.

    If a worker is killed, other workers take over its tasks once their leases have expired: every worker looks for such
    tasks.

    It claims tasks whose required capabilities are among those of its agent. It needs the asynchronous storage;
    handlers need not be asynchronous.
    """

    def __init__(
        self,
        storage: Storage,
        agent: AgentModel,
        handlers: Mapping[str, Callable[..., Any]],
        *,
        concurrency: int = 8,
        lease: float | timedelta = LEASE_SECONDS,
        task_timeout: float | timedelta | None = None,
        drain_timeout: float | timedelta = DRAIN_SECONDS,
        heartbeat_timeout: float | timedelta = HEARTBEAT_TIMEOUT_SECONDS,
        heeds_signals: bool = True,
        retries: RetryPolicy | Mapping[str, RetryPolicy] | None = None,
        fires_schedules: bool = True,
        retention: float | timedelta | None = None,
        ageing: float | timedelta | None = None,
    ) -> None:
        """Set up a worker; durations are seconds or timedeltas.

        A handler that takes longer than `task_timeout` is cancelled, and its task fails. `heartbeat_timeout` is the age
        of a heartbeat at which agents are marked as `error`; the worker sends five in that time. With `heeds_signals`,
        SIGTERM and SIGINT stop it, in the main thread only; the previous handlers are restored at the end of the block.
        `retries` is the policy for the tasks that fail here, or a dict of policies by task type. `fires_schedules` lets
        it store the tasks of the schedules that are due, whatever their types. With `retention`, it prunes what is
        older than that, now and then; of the workers of a swarm, one at a time does. With
        `ageing`, a task counts as one priority higher for each such time that it has waited.

        Raises:
            InvalidQueryError: an argument is invalid; the message names it.

        """
        _require(isinstance(storage, Storage), "storage", storage, "a Storage, as init_storage opens it")
        _require(isinstance(agent, AgentModel), "agent", agent, "an AgentModel")
        is_number = isinstance(concurrency, int) and not isinstance(concurrency, bool)
        _require(is_number and concurrency > 0, "concurrency", concurrency, "a whole number above 0")
        timeout = None if task_timeout is None else seconds(task_timeout, "task_timeout")
        self.stopped_by: signal.Signals | None = None
        """The first signal, if any."""
        self._storage = storage
        self._agent = agent
        by_type = handlers_by_type(handlers)
        self._settings = WorkerSettings(
            handlers=by_type,
            policies=policies_by_type(retries, by_type),
            concurrency=concurrency,
            limits=TaskLimits(seconds(lease, "lease"), timeout),
            drain_timeout=seconds(drain_timeout, "drain_timeout", is_zero_possible=True),
            heartbeat_timeout=seconds(heartbeat_timeout, "heartbeat_timeout"),
            fires_schedules=fires_schedules,
            retention=None if retention is None else seconds(retention, "retention"),
            ageing=None if ageing is None else seconds(ageing, "ageing"),
        )
        self._heeds_signals = heeds_signals
        self._loop: asyncio.AbstractEventLoop
        self._run: WorkerRun | None = None
        self._work: asyncio.Task[None]
        self._waiting = 0
        self._body: asyncio.Task[Any] | None = None
        self._cancellations = 0
        self._has_ended_body = False

    @property
    def outcomes(self) -> Counter[str]:
        """Return the number of tasks by outcome so far.

        The outcomes are `completed`, `retried`, `failed`, `snoozed`, `given back` and `lost`.
        """
        return Counter() if self._run is None else Counter(self._run.outcomes)

    async def run(self) -> None:
        """Wait until the worker has stopped; raise the error that has stopped it, if any."""
        self._started()
        self._waiting += 1
        try:
            await asyncio.shield(self._work)
        finally:
            self._waiting -= 1

    async def run_until_idle(self) -> None:
        """Wait until no task is ready for the worker and none is running; raise the error that has stopped it, if any.

        First it stores the tasks of the schedules that are due, if it `fires_schedules`.

        The worker goes on. Tasks that wait for their time or for a dependency do not count: in a test, move the clock
        and call this again.
        """
        idle = asyncio.create_task(self._started().until_idle())
        self._waiting += 1
        try:
            await asyncio.wait((idle, self._work), return_when=asyncio.FIRST_COMPLETED)
            await (asyncio.shield(self._work) if self._work.done() else idle)
        finally:
            self._waiting -= 1
            idle.cancel()

    def stop(self) -> None:
        """Claim no more; end once the running handlers have finished, or after `drain_timeout`. Thread-safe."""
        self._call(self._started().stop)

    def stop_at_once(self) -> None:
        """Claim no more; cancel the running handlers and release their tasks. Thread-safe."""
        self._call(self._started().stop_at_once)

    async def __aenter__(self) -> Self:
        if self._run is not None:
            raise OtherError("this worker was started before; create a new one")
        self._loop = asyncio.get_running_loop()
        registration = Registration(self._storage, self._agent, self._settings.handlers)
        self._storage.begin_service(self._agent)
        try:
            await registration.register()
        except BaseException:
            self._storage.end_service(self._agent)
            raise
        self._run = WorkerRun(self._storage, self._agent, registration, self._settings)
        self._work = self._loop.create_task(self._run.work(), name=f"worker {self._agent.id}")
        self._body = asyncio.current_task()
        self._cancellations = 0 if self._body is None else self._body.cancelling()
        self._work.add_done_callback(self._end_body)
        self._work.add_done_callback(lambda _: self._storage.end_service(self._agent))
        if self._heeds_signals:
            signals.subscribe(self._take_signal)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        run = self._started()
        is_ours = self._take_back_cancellation(error)
        self._body = None
        (run.stop if error is None else run.stop_at_once)()
        cancellation: asyncio.CancelledError | None = None
        while not self._work.done():
            try:
                await asyncio.wait((self._work,))
            except asyncio.CancelledError as cancelled:
                # First release the claimed tasks: other workers would wait until the leases expire.
                cancellation = cancelled
                run.stop_at_once()
        signals.unsubscribe(self._take_signal)
        failure = None if self._work.cancelled() else self._work.exception()
        if cancellation is not None:
            raise cancellation
        if failure is not None and (error is None or is_ours):
            raise failure
        return is_ours

    def _end_body(self, work: "asyncio.Task[None]") -> None:
        """Cancel the block if a signal or an error has ended the work, and the block does not await `run`.

        Else the program would continue without its worker, and without reacting to signals.
        """
        is_unexpected = self.stopped_by is not None or (not work.cancelled() and work.exception() is not None)
        if is_unexpected and self._body is not None and not self._waiting:
            self._has_ended_body = True
            self._body.cancel()

    def _take_back_cancellation(self, error: BaseException | None) -> bool:
        """Return whether only our own cancellation has ended the block."""
        if not self._has_ended_body or self._body is None:
            return False
        return self._body.uncancel() <= self._cancellations and isinstance(error, asyncio.CancelledError)

    def _take_signal(self, number: int) -> None:
        if self.stopped_by is None:
            self.stopped_by = signal.Signals(number)
            self.stop()
        else:
            self.stop_at_once()

    def _call(self, function: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop is closed, and the worker with it
            self._loop.call_soon_threadsafe(function)

    def _started(self) -> WorkerRun:
        if self._run is None:
            raise OtherError("this worker was not started; use it as `async with Worker(…) as worker:`")
        return self._run


def _require(is_so: bool, name: str, value: object, expected: str) -> None:
    if not is_so:
        raise InvalidQueryError(f"{name} is {value!r}, expected {expected}")
