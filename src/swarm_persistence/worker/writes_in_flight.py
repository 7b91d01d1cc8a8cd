"""The writes of a worker's main loop that are in flight: two at most, each with a limit once the worker stops."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from swarm_persistence.worker.recording import HAND_BACK_SECONDS

UNANSWERED_SECONDS = 0.5
"""How long a worker that stops waits for a claim in flight, and, if that was in vain, for its sign-off."""
_MOST_WRITES = 2
_FEWEST_BESIDE = 64
"""So many results are recorded beside a write in flight; fewer wait for its end."""

T = TypeVar("T")


class WritesInFlight:
    """Counts the tasks that the writes in flight may claim, and limits how long they take."""

    def __init__(self, agent_id: str, failed: Callable[[Exception], None], changed: Callable[[], None]) -> None:
        """Take what is called with the error of a write, and what is called at the end of each write."""
        self._name = f"write of worker {agent_id}"
        self._failed = failed
        self._changed = changed
        self._loop = asyncio.get_running_loop()
        self._writes: dict[asyncio.Task[None], int] = {}
        """How many tasks each may claim."""
        self._limits: dict[asyncio.Timeout, bool] = {}
        """Whether each of these writes only claims."""
        self._claim_seconds: float | None = None
        self._seconds: float | None = None

    def __len__(self) -> int:
        return len(self._writes)

    @property
    def claiming(self) -> int:
        """Return how many tasks the writes in flight may claim."""
        return sum(self._writes.values())

    def may_record(self, results: int) -> bool:
        """Tell whether to record so many results now; beside a write in flight, only as many as repay another one."""
        if not self._writes:
            return results > 0
        return len(self._writes) < _MOST_WRITES and results >= _FEWEST_BESIDE

    def start(self, write: Coroutine[Any, Any, None], room: int) -> None:
        """Start a write that may claim so many tasks."""
        task = self._loop.create_task(write, name=self._name)
        self._writes[task] = room
        task.add_done_callback(self._written)

    async def limited(self, write: Awaitable[T], *, is_claim: bool = False) -> T:
        """Write, within a limit once the worker stops; the storage releases what it claims after that.

        Raises:
            TimeoutError: the storage has not answered within the limit.

        """
        limit = asyncio.timeout(self._claim_seconds if self._seconds is None and is_claim else self._seconds)
        self._limits[limit] = is_claim
        try:
            async with limit:
                return await write
        finally:
            del self._limits[limit]

    def limit_claims(self) -> None:
        """Limit the claims in flight, and those to come: the worker stops."""
        self._claim_seconds = UNANSWERED_SECONDS
        self._reschedule(UNANSWERED_SECONDS, [limit for limit, is_claim in self._limits.items() if is_claim])

    def limit_all(self) -> None:
        """Limit all writes in flight, and those to come: the worker hands its tasks back."""
        self._seconds = HAND_BACK_SECONDS
        self._reschedule(HAND_BACK_SECONDS, [*self._limits])

    def cancel(self) -> list["asyncio.Task[None]"]:
        """Cancel all, and return them; they have still to end."""
        for write in self._writes:
            write.cancel()
        return [*self._writes]

    def _reschedule(self, seconds: float, limits: list[asyncio.Timeout]) -> None:
        for limit in limits:
            if not limit.expired():
                limit.reschedule(self._loop.time() + seconds)

    def _written(self, write: "asyncio.Task[None]") -> None:
        del self._writes[write]
        report_error(write, self._failed)
        self._changed()


def report_error(ended: "asyncio.Task[Any]", failed: Callable[[Exception], None]) -> None:
    """Call `failed` with the error of a task that has ended, if it was not cancelled."""
    error = None if ended.cancelled() else ended.exception()
    if isinstance(error, Exception):
        failed(error)
