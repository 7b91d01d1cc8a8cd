"""One timer for the leases and time limits of all running handlers."""

import asyncio
import time
from collections.abc import Callable, Iterable

from swarm_persistence.worker.task_runs import TaskRun


class RunTimer:
    """Calls each run when something is due. A run is looked up again when the timer fires, not when it ends."""

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
