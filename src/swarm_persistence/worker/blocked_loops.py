"""Detects a blocked event loop from a thread; meanwhile extends leases, sends heartbeats and logs the blocking call."""

import asyncio
import logging
import os
import sys
import time
import traceback
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import Future
from threading import Event, Thread, get_ident
from typing import TYPE_CHECKING

from swarm_persistence.background import submit
from swarm_persistence.errors import ClosedError, StorageError
from swarm_persistence.storage import Storage
from swarm_persistence.worker.logs import worker_log
from swarm_persistence.worker.task_runs import TaskLimits, TaskRun

if TYPE_CHECKING:
    from swarm_persistence.worker.logs import Log

_LONGEST_LIMIT_SECONDS = 5.0
_SHORTEST_LIMIT_SECONDS = 0.05

_log = logging.getLogger(__name__)


class LoopGuard:
    """Watches the event loop that creates it, from `start` to `stop`.

    It extends leases in the background loop, and only while the worker's own loop is blocked: on a server, a second
    loop needs a second connection.
    """

    def __init__(
        self,
        storage: Storage,
        agent_id: str,
        runs: Callable[[], Iterable[TaskRun]],
        limits: TaskLimits,
        heartbeat_pause: float,
        *,
        release_ahead: Callable[[], Awaitable[None]],
    ) -> None:
        """Take the runs; `release_ahead` releases the tasks that wait for a slot, as other workers may have one."""
        self._storage = storage
        self._agent_id = agent_id
        self._log = worker_log(_log, agent_id)
        self._runs = runs
        self._release_ahead = release_ahead
        self._lease_pause = limits.lease / 3
        self._heartbeat_pause = heartbeat_pause
        # The worker extends a lease once a third of it has passed. A blocked loop must be detected, and the lease
        # extended from here, within the rest.
        limit = min(limits.lease / 4, heartbeat_pause, _LONGEST_LIMIT_SECONDS)
        self._limit = max(limit, _SHORTEST_LIMIT_SECONDS)
        self._loop = asyncio.get_running_loop()
        self._thread_id = get_ident()
        self._ticked_at = time.monotonic()
        self._timer: asyncio.TimerHandle | None = None
        self._stopped = Event()
        self._logged: set[str] = set()
        self._leases = _RepeatedCall(self._extend_leases, self._log)
        self._heartbeat = _RepeatedCall(self._send_heartbeat, self._log)

    def start(self) -> None:
        """Start the watching thread."""
        self._tick()
        Thread(target=self._watch, name="swarm-persistence loop guard", daemon=True).start()

    def stop(self) -> None:
        """Stop watching, without waiting for the thread."""
        self._stopped.set()
        if self._timer is not None:
            self._timer.cancel()

    def _tick(self) -> None:
        self._ticked_at = time.monotonic()
        self._timer = self._loop.call_later(self._limit / 2, self._tick)

    def _watch(self) -> None:
        while not self._stopped.wait(self._limit / 2):
            now, ticked_at = time.monotonic(), self._ticked_at
            if now - ticked_at < self._limit:
                self._leases.due_at = now
                self._heartbeat.due_at = now + self._heartbeat_pause
                continue
            self._warn(ticked_at)
            self._leases.start_if_due(now, self._lease_pause)
            self._heartbeat.start_if_due(now, self._heartbeat_pause)

    async def _extend_leases(self) -> None:
        await asyncio.gather(self._release_ahead(), *(run.extend_from_elsewhere() for run in self._runs()))

    async def _send_heartbeat(self) -> None:
        try:
            await self._storage.heartbeat(self._agent_id)
        except StorageError as error:
            self._log.error("the heartbeat of %r, whose event loop is blocked, failed: %s", self._agent_id, error)

    def _warn(self, ticked_at: float) -> None:
        task = asyncio.current_task(self._loop)
        frame = sys._current_frames().get(self._thread_id)
        if frame is None or self._ticked_at != ticked_at:
            return  # the loop is running again
        stack = _without_own_frames(traceback.extract_stack(frame))
        run = next((run for run in self._runs() if run.handling is task), None)
        if run is not None:
            culprit, place = run.handler_name, f"the handler {run.handler_name} of {run.name}"
        else:
            culprit = "a callback" if task is None else getattr(task.get_coro(), "__qualname__", repr(task))
            place = culprit if task is None else f"{culprit} ({task.get_name()})"
        if culprit in self._logged:
            return
        self._logged.add(culprit)
        (self._log if run is None else run.log).warning(
            "the event loop of worker %r has been blocked for %.1f s by %s; a thread extends its leases, but "
            "nothing else in this loop runs. Write a handler that blocks as a plain `def`, which runs in a thread, or "
            "wrap the blocking call in `await asyncio.to_thread(...)`. The loop is blocked here:\n%s",
            self._agent_id,
            time.monotonic() - ticked_at,
            place,
            "".join(stack.format()),
        )


class _RepeatedCall:
    """A call that is repeated in the background loop, never twice at the same time."""

    def __init__(self, work: Callable[[], Awaitable[None]], log: "Log") -> None:
        self.due_at = 0.0
        self._log = log
        self._work = work
        self._running: Future[None] | None = None

    def start_if_due(self, now: float, pause: float) -> None:
        """Start the call if it is due and the previous one has ended."""
        if now < self.due_at or (self._running is not None and not self._running.done()):
            return
        self.due_at = now + pause
        try:
            self._running = submit(self._run())
        except StorageError as error:
            self._log.error("the leases of a blocked event loop cannot be extended: %s", error)

    async def _run(self) -> None:
        try:
            await self._work()
        except ClosedError:
            pass  # the worker's own loop gets this error, too
        except Exception:
            self._log.exception("the leases of a blocked event loop cannot be extended")


def _without_own_frames(stack: traceback.StackSummary) -> traceback.StackSummary:
    """Return the frames of the loop's current callback, without those of the worker itself."""
    steps = [place for place, frame in enumerate(stack) if frame.filename.endswith(_STEP)]
    frames = stack[steps[-1] + 1 :] if steps else stack
    return traceback.StackSummary.from_list([frame for frame in frames if os.path.dirname(frame.filename) != _HERE])


_STEP = os.path.join("asyncio", "events.py")
_HERE = os.path.dirname(__file__)
