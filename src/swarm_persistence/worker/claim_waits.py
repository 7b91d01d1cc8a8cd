"""What a worker's next claim waits for: a ready task, after one that found none, or a delay, after one that failed."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from swarm_persistence.backoff import Backoff
from swarm_persistence.errors import ClosedError, StorageError, UnreadableError
from swarm_persistence.storage.ready_tasks import ReadyTaskWatch

if TYPE_CHECKING:
    from swarm_persistence.worker.logs import Log

_LONGEST_WAIT_SECONDS = 60.0
"""After this time without a commit, the worker tries to claim all the same."""


class ClaimWaits:
    """Waits in the background of the main loop."""

    def __init__(self, agent_id: str, log: "Log", ready_tasks: ReadyTaskWatch, changed: Callable[[], None]) -> None:
        """Take what is called at the end of a wait."""
        self.may_find_tasks = True
        """Whether the last claim has found a task, or something has happened since."""
        self.is_backing_off = False
        self._agent_id = agent_id
        self._log = log
        self._ready_tasks = ready_tasks
        self._changed = changed
        self._backoff = Backoff()
        self._waiting: asyncio.Task[Any] | None = None

    def wait_for_tasks(self) -> None:
        """Wait until a claim may find tasks, unless a wait is going on."""
        if self._waiting is None:
            self._wait(self._ready_tasks.wait_to_claim(_LONGEST_WAIT_SECONDS))

    def back_off(self, error: StorageError) -> None:
        """Log the error of a claim, and wait before the next one: for longer each time."""
        pause = self._backoff.next()
        self._log.error("worker %r cannot claim; the next attempt is in %.1f s: %s", self._agent_id, pause, error)
        self.is_backing_off = True
        # Without another ready task, an unreadable one fails the claim. A new one must not wait until the backoff is
        # over.
        is_unreadable = isinstance(error, UnreadableError)
        self._wait(self._ready_tasks.wait_for_commit(pause) if is_unreadable else asyncio.sleep(pause))

    def has_succeeded(self) -> None:
        """Note that a claim has not failed."""
        self._backoff.reset()

    def end_if_over(self) -> None:
        """If the wait is over, see what has come of it: it raises the errors of a claim."""
        if self._waiting is None or not self._waiting.done():
            return
        waiting, self._waiting = self._waiting, None
        self.is_backing_off, self.may_find_tasks = False, True
        try:
            waiting.result()
        except ClosedError:
            raise
        except StorageError as error:
            self.back_off(error)

    def cancel(self) -> list["asyncio.Task[Any]"]:
        """Cancel the wait, and return it, if there is one; it has still to end."""
        if self._waiting is None:
            return []
        self._waiting.cancel()
        return [self._waiting]

    def _wait(self, wait: Coroutine[Any, Any, Any]) -> None:
        self.cancel()
        self._waiting = asyncio.get_running_loop().create_task(wait)
        self._waiting.add_done_callback(lambda _: self._changed())
