"""The channel between a running handler and its worker: progress and cancellation."""

import asyncio
import logging

import msgspec

from swarm_persistence.errors import ClosedError, LeaseLostError, StorageError
from swarm_persistence.models import TaskModel
from swarm_persistence.storage import Storage
from swarm_persistence.storage.leases import progress_of
from swarm_persistence.worker.logs import task_log

REPORT_PAUSE_SECONDS = 1.0
"""The shortest time between writes of a handler's progress; reports in between are coalesced."""

_log = logging.getLogger(__name__)


class HandlerCancelled(Exception):  # noqa: N818 - like CancelledError, it says what has happened
    """Raised by `context.raise_if_cancelled()`: the result of this handler will not be written."""


class HandlerControl:
    """The state of one run of a handler; the handler may be in another thread."""

    def __init__(self, storage: Storage, task: TaskModel) -> None:
        self.is_cancelled = False
        self._storage = storage
        self._task = task
        self._loop = asyncio.get_running_loop()
        self._latest: list[tuple[float, str | None]] = []
        """The report to write next, if there is one; a list, which changes in one step for all threads."""
        self._writing: asyncio.Task[None] | None = None
        self._has_ended = False

    def report_progress(self, progress: float, text: str | None) -> None:
        """Schedule a write of the progress, unless a later report replaces it; from any thread."""
        is_due = bool(self._latest)
        self._latest[:] = [progress_of(progress, text)]
        # If the loop takes the earlier one just now, it finds this one after its pause.
        if not is_due and not self._has_ended:
            self._loop.call_soon_threadsafe(self._begin)

    def cancel(self) -> None:
        """Note that the handler is cancelled."""
        self.is_cancelled = True

    def end(self) -> None:
        """Stop writing: the handler has ended, or is no longer awaited."""
        self._has_ended = True
        if self._writing is not None:
            self._writing.cancel()

    def _begin(self) -> None:
        if not self._has_ended and (self._writing is None or self._writing.done()):
            self._writing = asyncio.create_task(self._write(), name=f"progress of task {self._task.id}")

    async def _write(self) -> None:
        while self._latest:
            copy = msgspec.structs.replace(self._task)
            try:
                await self._storage.report_progress(copy, *self._latest.pop())
            except (LeaseLostError, ClosedError):
                return  # the run finds out by itself
            except StorageError as error:
                task_log(_log, self._task).warning("the progress of task %r is not written: %s", self._task.id, error)
            await asyncio.sleep(REPORT_PAUSE_SECONDS)
