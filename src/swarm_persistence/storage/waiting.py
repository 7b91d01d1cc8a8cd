"""The verbs that wait for tasks to finish."""

import asyncio
from collections.abc import Iterable, Sequence
from datetime import timedelta

from swarm_persistence.durations import seconds
from swarm_persistence.engines.interface import Engine
from swarm_persistence.engines.reads import Select
from swarm_persistence.errors import NotFoundError, WaitTimeoutError
from swarm_persistence.models import TaskModel
from swarm_persistence.query.query import Query, one_of
from swarm_persistence.query.task_statuses import FINISHED
from swarm_persistence.schema.tables import TASKS
from swarm_persistence.schema.values import identifier
from swarm_persistence.storage.arguments import several
from swarm_persistence.storage.core import StorageCore
from swarm_persistence.storage.task_waits import TaskWaits, Waiter

_MOST_NAMED = 5
"""How many unfinished tasks an error message names."""


class WaitVerbs(StorageCore):
    """Waits for tasks, by their ids, until they are finished."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self._task_waits = TaskWaits()

    async def wait_for_task(self, id: str, *, timeout: float | timedelta | None = None) -> TaskModel:  # noqa: ASYNC109
        """Wait until the task is completed, failed for good or cancelled, and return it.

        The commit that ends the task wakes the caller, whichever process makes it. All callers of an event loop share
        one read after each commit, so waiting for many tasks costs little.

        Raises:
            NotFoundError: no task has this id, or it was deleted.
            WaitTimeoutError: the task is not finished after `timeout` seconds; without a timeout, the wait is
                unlimited.
            TransactionError: within a transaction, which sees no commits of others.

        """
        self._require_no_transaction("wait_for_task")
        return (await self._wait_for([identifier(id, TASKS.id_field)], timeout))[0]

    async def wait_for_tasks(
        self,
        ids: Iterable[str],
        *,
        timeout: float | timedelta | None = None,  # noqa: ASYNC109 - one limit for a wait that needs no further task
    ) -> list[TaskModel]:
        """Wait until all of these tasks are finished, and return them in the order of the ids; see `wait_for_task`."""
        self._require_no_transaction("wait_for_tasks")
        wanted = several(ids, "ids", "a list of ids")
        return await self._wait_for([identifier(id, f"ids[{place}]") for place, id in enumerate(wanted)], timeout)

    async def _wait_for(self, ids: Sequence[str], timeout: float | timedelta | None) -> list[TaskModel]:  # noqa: ASYNC109
        limit = None if timeout is None else seconds(timeout, "timeout", is_zero_possible=True)
        waiters = self._task_waits.add(self._engine, dict.fromkeys(ids))
        try:
            finished = await self._finished(ids)
            left = {id: waiter for id, waiter in waiters.items() if id not in finished}
            if left:
                await asyncio.wait(left.values(), timeout=limit, return_when=asyncio.FIRST_EXCEPTION)
                finished |= _results(left, limit)
            return [finished[id] for id in ids]
        finally:
            for waiter in waiters.values():
                if not waiter.cancel() and not waiter.cancelled():
                    waiter.exception()  # of several errors, one is raised

    async def _finished(self, ids: Sequence[str]) -> dict[str, TaskModel]:
        """Return those of the tasks that are finished now; all of them must be stored."""
        if len(ids) == 1:
            found = [await self._get(TASKS, ids[0])]
        else:
            found = [*await self._executor().read(Select(Query(TASKS, (one_of("id", ids),))))]
        stored = {task.id: task for task in found if task is not None}
        missing = next((id for id in ids if id not in stored), None)
        if missing is not None:
            raise NotFoundError(f"task {missing!r}; store it before waiting for it")
        return {id: task for id, task in stored.items() if task.status in FINISHED}


def _results(waiters: dict[str, Waiter], limit: float | None) -> dict[str, TaskModel]:
    """Return the results of futures; raise the first error, or `WaitTimeoutError` if some are not done."""
    results = {id: waiter.result() for id, waiter in waiters.items() if waiter.done()}
    unfinished = [id for id in waiters if id not in results]
    if unfinished:
        named = ", ".join(map(repr, unfinished[:_MOST_NAMED])) + (", …" if len(unfinished) > _MOST_NAMED else "")
        raise WaitTimeoutError(f"{len(unfinished)} task(s) not finished after {limit:g} s: {named}")
    return results
