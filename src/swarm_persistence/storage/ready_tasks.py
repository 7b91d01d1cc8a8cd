"""Waits for tasks that can be claimed, without claiming them."""

import math
import time
from datetime import timedelta

from swarm_persistence.durations import seconds
from swarm_persistence.engines.reads import Aggregate, AggregateFunction, Values
from swarm_persistence.models import TaskModel
from swarm_persistence.query.query import Condition, FromNow, Order, Query
from swarm_persistence.schema.tables import IS_DELAYED, TASK_LIMITS, TASKS
from swarm_persistence.storage.claim_choice import ClaimChoice
from swarm_persistence.storage.claim_requests import ClaimRequest, of_types
from swarm_persistence.storage.core import StorageCore
from swarm_persistence.storage.task_limits import limits_by_type
from swarm_persistence.storage.tasks import IS_DUE, IS_MET, IS_PENDING, IS_READY, MOST_URGENT_FIRST

_SHORTEST_PAUSE_SECONDS = 0.01
_QUIET_SECONDS = 0.02
"""After this time without a commit, the next one triggers a claim without a check, if the check is a round trip."""


class ReadyTaskWatch:
    """Watches for ready tasks since its creation; belongs to the event loop that created it.

    To miss no task, create it before a claim, and wait on it after the claim.
    """

    def __init__(self, storage: StorageCore, request: ClaimRequest) -> None:
        self._storage = storage
        self._request = request
        fits = of_types(request.types)
        ready: Query[TaskModel] = Query(TASKS, (*IS_READY, *fits), MOST_URGENT_FIRST, 1)
        due: Query[TaskModel] = Query(TASKS, (IS_PENDING, IS_MET, *IS_DUE, *fits), MOST_URGENT_FIRST, 1)
        self._queries = (ready, due)
        self._fits = fits
        self._commits = storage._engine.watch((TASKS, TASK_LIMITS))

    async def wait(self, within: float | timedelta) -> bool:
        """Wait until a claim may find a task that earlier claims did not; return whether it may.

        `False` means that the timeout has passed. It claims nothing, so it can be cancelled without losing a task.
        `True` does not guarantee a task: another agent may claim it first, and a delayed task that has become due may
        be of another type.

        Raises:
            InvalidQueryError: `within` is negative.
            ClosedError: the storage was closed.

        """
        return await self._wait(within, math.inf)

    async def wait_to_claim(self, within: float | timedelta) -> bool:
        """Wait as `wait` does, for a caller that claims next: returns sooner, but its claims more often find nothing.

        On a server, checking whether a task is ready takes a round trip, which delays the claim. So the first commit
        after a pause of 20 ms ends the wait unchecked; on a busy swarm, where most commits make no task ready, they are
        checked.
        """
        return await self._wait(within, math.inf if self._storage._engine.is_local else _QUIET_SECONDS)

    async def wait_for_commit(self, within: float | timedelta) -> bool:
        """Wait until any task may have been written; return `False` after the timeout."""
        return await self._commits.wait(seconds(within, "within", is_zero_possible=True))

    async def is_any_ready(self) -> bool:
        """Tell whether a claim could find a task now."""
        executor = self._storage._executor()
        for query in self._queries:
            if await executor.read(Values(query, ("id",))):
                return not self._storage._is_choosing or await self._is_any_to_choose()
        return False

    async def types(self, most: int) -> list[str]:
        """Return the types of the ready tasks, sorted, at most `most`; one short read for each."""
        found: list[str] = []
        later: tuple[Condition, ...] = ()
        while len(found) < most:
            ready: Query[TaskModel] = Query(TASKS, (*IS_READY, *self._fits, *later))
            ((first,),) = await self._storage._executor().read(
                Aggregate(ready, (), (AggregateFunction("min", "task_type"),))
            )
            if first is None:
                break
            found.append(str(first))
            later = (Condition("task_type", ">", first),)
        return found

    def close(self) -> None:
        """Stop watching; idempotent."""
        self._commits.close()

    async def _wait(self, within: float | timedelta, quiet_seconds: float) -> bool:
        """Wait; do not check for ready tasks if a commit follows so many seconds without one."""
        deadline = time.monotonic() + seconds(within, "within", is_zero_possible=True)
        while True:
            rest = max(deadline - time.monotonic(), 0.0)
            due_in = await self._seconds_to_next_due(rest)
            if self._storage._is_choosing:
                due_in = min(due_in, await self._seconds_to_next_start(rest))
            # Most commits make no task ready, and a read needs no write lock. But only a claim marks due tasks.
            began_at = time.monotonic()
            if not await self._commits.wait(min(rest, due_in)):
                return due_in < rest or await self.is_any_ready()
            if time.monotonic() - began_at >= quiet_seconds or await self.is_any_ready():
                return True

    async def _is_any_to_choose(self) -> bool:
        """Tell whether limits and required capabilities let a claim find a task now, or a task has become due."""
        executor = self._storage._executor()
        if await executor.read(Values(self._queries[1], ("id",))):
            return True
        return bool(await ClaimChoice(executor, self._request, await limits_by_type(executor)).candidates())

    async def _seconds_to_next_start(self, most: float) -> float:
        """Return the seconds until a limit lets the next task start; `most` or more if that is later, or never."""
        executor = self._storage._executor()
        choice = ClaimChoice(executor, self._request, await limits_by_type(executor))
        await choice.candidates()
        if choice.next_start is None:
            return most
        return max((choice.next_start - await self._storage._engine.time()) / 1_000_000, _SHORTEST_PAUSE_SECONDS)

    async def _seconds_to_next_due(self, most: float) -> float:
        """Return the seconds until the next delayed task is due; `most` or more if that is later."""
        # One time for many waiters: an engine may read once for all that ask the same.
        horizon = FromNow(float(1 << (math.ceil(most) - 1).bit_length()) if most > 1 else 1.0)
        delayed = Query(
            TASKS, (Condition(IS_DELAYED, "=", 1), Condition("run_at", "<=", horizon)), (Order("run_at"),), 1
        )
        rows = await self._storage._executor().read(Values(delayed, ("run_at",)))
        if not rows:
            return most
        run_at = rows[0][0]
        assert isinstance(run_at, int)
        return max((run_at - await self._storage._engine.time()) / 1_000_000, _SHORTEST_PAUSE_SECONDS)
