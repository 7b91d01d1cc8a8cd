"""The worker: registers an agent, claims tasks as it has room, and hands back what it has not finished."""

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
from swarm_persistence.storage.claims import LEASE_SECONDS
from swarm_persistence.storage.recovery import HEARTBEAT_TIMEOUT_SECONDS
from swarm_persistence.worker import signals
from swarm_persistence.worker.handlers import handlers_by_type
from swarm_persistence.worker.registration import Registration
from swarm_persistence.worker.task_runs import TaskLimits
from swarm_persistence.worker.worker_runs import WorkerRun, WorkerSettings

DRAIN_SECONDS = 30.0
"""How long running handlers may go on after a stop, if nobody says otherwise."""


class Worker:
    """Claims tasks for an agent and lets handlers do them, from the start of its `async with` block to its end.

    A handler takes a `TaskModel`, and a `WorkerContext` if it has a second argument without a default. What it returns
    is the task's result; what it raises fails the task, which is tried again as `fail_task` says. One that blocks
    (no `async def`) works in a thread; an `async def` that blocks the event loop keeps its task, and a warning is
    logged. The task stays claimed for as long as its handler works. A handler whose claim is over, since the task
    was cancelled or given to another agent, is cancelled, and what it returns is not written. A thread cannot be
    cancelled: it goes on, and only its result is dropped.

    SIGTERM, SIGINT, `stop()` and the end of the block drain it: no new claims, the running handlers may finish within
    `drain_timeout`, and the rest is given back. A second signal gives everything back at once; so does an exception
    that leaves the block. A block that awaits anything but `run` is cancelled once a signal or an error has ended the
    worker, and left in good order after a signal, and with the error otherwise.

    Of several workers of one agent id, as in a restart that overlaps, the last one is told by `incarnation` in the
    agent's metadata, as long as it works: an earlier one that stops leaves the agent as it is.

    A worker that is killed leaves its tasks to the others, who take them over when their leases have run out: every
    worker looks for such tasks.

    It needs the asynchronous storage; handlers need not be asynchronous.
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
    ) -> None:
        """Set up a worker; durations are seconds or timedeltas.

        A handler that takes longer than `task_timeout` is cancelled, and its task fails. `heartbeat_timeout` is the age
        of a heartbeat at which agents are marked as `error`; this one sends five in that time. Signals are heeded in
        the main thread only, and restored at the end of the block.

        Raises:
            InvalidQueryError: an argument makes no sense; the text says which.

        """
        _require(isinstance(storage, Storage), "storage", storage, "a Storage, as init_storage opens it")
        _require(isinstance(agent, AgentModel), "agent", agent, "an AgentModel")
        is_number = isinstance(concurrency, int) and not isinstance(concurrency, bool)
        _require(is_number and concurrency > 0, "concurrency", concurrency, "a whole number above 0")
        timeout = None if task_timeout is None else seconds(task_timeout, "task_timeout")
        self.stopped_by: signal.Signals | None = None
        """The signal that came first, if any."""
        self._storage = storage
        self._agent = agent
        self._settings = WorkerSettings(
            handlers=handlers_by_type(handlers),
            concurrency=concurrency,
            limits=TaskLimits(seconds(lease, "lease"), timeout),
            drain_timeout=seconds(drain_timeout, "drain_timeout", is_zero_possible=True),
            heartbeat_timeout=seconds(heartbeat_timeout, "heartbeat_timeout"),
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
        """Return how many tasks were `completed`, `retried`, `failed`, `given back` and `lost` so far."""
        return Counter() if self._run is None else Counter(self._run.outcomes)

    async def run(self) -> None:
        """Wait until the worker has stopped, and raise the error that has stopped it, if any."""
        self._started()
        self._waiting += 1
        try:
            await asyncio.shield(self._work)
        finally:
            self._waiting -= 1

    def stop(self) -> None:
        """Claim no more, and end once what runs is done, or `drain_timeout` is over; from any thread."""
        self._call(self._started().stop)

    def stop_at_once(self) -> None:
        """Claim no more, cancel what runs, and give it back; from any thread."""
        self._call(self._started().hurry)

    async def __aenter__(self) -> Self:
        if self._run is not None:
            raise OtherError("this worker was started before; make a new one")
        self._loop = asyncio.get_running_loop()
        registration = Registration(self._storage, self._agent)
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
            signals.heed(self._take_signal)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        run = self._started()
        is_ours = self._take_back_cancellation(error)
        self._body = None
        (run.stop if error is None else run.hurry)()
        cancellation: asyncio.CancelledError | None = None
        while not self._work.done():
            try:
                await asyncio.wait((self._work,))
            except asyncio.CancelledError as cancelled:
                # First give back what is claimed: nobody else would for as long as the leases hold.
                cancellation = cancelled
                run.hurry()
        signals.ignore(self._take_signal)
        failure = None if self._work.cancelled() else self._work.exception()
        if cancellation is not None:
            raise cancellation
        if failure is not None and (error is None or is_ours):
            raise failure
        return is_ours

    def _end_body(self, work: "asyncio.Task[None]") -> None:
        """Cancel what the block waits for, if a signal or an error has ended the work, and `run` does not tell of it.

        Else a program that waits for something else would go on, deaf to signals, without its worker.
        """
        is_unexpected = self.stopped_by is not None or (not work.cancelled() and work.exception() is not None)
        if is_unexpected and self._body is not None and not self._waiting:
            self._has_ended_body = True
            self._body.cancel()

    def _take_back_cancellation(self, error: BaseException | None) -> bool:
        """Tell whether it was our own cancellation, and no other, that has ended the block."""
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
        with suppress(RuntimeError):  # the loop is closed, and with it all that could be stopped
            self._loop.call_soon_threadsafe(function)

    def _started(self) -> WorkerRun:
        if self._run is None:
            raise OtherError("this worker was not started; use it as `async with Worker(…) as worker:`")
        return self._run


def _require(is_so: bool, name: str, value: object, expected: str) -> None:
    if not is_so:
        raise InvalidQueryError(f"{name} is {value!r}, expected {expected}")
