"""Waits for tasks to finish: one reader in each event loop polls for all that are awaited there."""

import asyncio
import time
from collections.abc import Iterable, Sequence
from contextvars import Context
from datetime import timedelta

from swarm_persistence.durations import seconds
from swarm_persistence.engines.interface import Engine, Watch
from swarm_persistence.engines.reads import Select
from swarm_persistence.engines.runtime import running_loop
from swarm_persistence.errors import NotFoundError, StorageError, WaitTimeoutError, copy_error
from swarm_persistence.models import TaskModel
from swarm_persistence.query.query import Query, one_of
from swarm_persistence.query.task_statuses import FINISHED, IS_FINISHED
from swarm_persistence.schema.codec import codec_of
from swarm_persistence.schema.tables import SEQUENCE, TASKS
from swarm_persistence.schema.values import identifier
from swarm_persistence.storage.arguments import several
from swarm_persistence.storage.core import StorageCore
from swarm_persistence.storage.readable import readable_values

Waiter = asyncio.Future[TaskModel]

_BETWEEN_CHECKS_SECONDS = 2.0
"""How often to poll without a commit, for deleted tasks and lost notifications."""
_PAUSE_FACTOR = 3.0
"""The pause after a read, as a multiple of its duration, which bounds the load however many commits there are."""
_FIELDS = (*TASKS.stored_names, SEQUENCE)
_ID = TASKS.positions["id"]


class TaskWaits:
    """The waits for tasks of one storage."""

    def __init__(self) -> None:
        self._readers: dict[tuple[asyncio.AbstractEventLoop, Engine], _Reader] = {}

    def add(self, engine: Engine, ids: Iterable[str]) -> dict[str, Waiter]:
        """Return a future for each of these tasks, which is resolved when the task finishes after this call.

        The caller reads the tasks that are already finished, and cancels the futures that it no longer awaits.
        """
        key = (running_loop(), engine)
        reader = self._readers.get(key)
        if reader is None or reader.is_over:
            # A loop may end without its waits. Iterate over a copy, since other threads may add readers.
            known = self._readers.copy().items()
            self._readers = {other: one for other, one in known if not one.is_over and not other[0].is_closed()}
            reader = self._readers[key] = _Reader(engine)
        return {id: reader.add(id) for id in ids}


class _Reader:
    """Reads the awaited tasks of one event loop after each commit to tasks, until none is awaited any more."""

    def __init__(self, engine: Engine) -> None:
        self.is_over = False
        self._engine = engine
        self._waiters: dict[str, set[Waiter]] = {}
        # Before the callers read by themselves: what is committed after their read wakes the reader.
        self._watch: Watch = engine.watch((TASKS,))
        self._loop = asyncio.get_running_loop()
        # In an empty context: it would keep the caller's context alive.
        self._work = self._loop.create_task(self._read_until_unused(), context=Context())

    def add(self, id: str) -> Waiter:
        """Return a future for a task."""
        waiter: Waiter = self._loop.create_future()
        self._waiters.setdefault(id, set()).add(waiter)
        waiter.add_done_callback(lambda _: self._discard(id, waiter))
        return waiter

    def _discard(self, id: str, waiter: Waiter) -> None:
        waiters = self._waiters.get(id, set())
        waiters.discard(waiter)
        if not waiters:
            self._waiters.pop(id, None)
        if not self._waiters and not self.is_over:
            self.is_over = True
            self._watch.close()
            self._work.cancel()

    async def _read_until_unused(self) -> None:
        check_at = time.monotonic() + _BETWEEN_CHECKS_SECONDS
        try:
            while not self.is_over:
                is_notified = await self._watch.wait(max(check_at - time.monotonic(), 0.0))
                began_at = time.monotonic()
                await self._read_finished()
                if not is_notified or began_at >= check_at:
                    await self._read_missing()
                    check_at = time.monotonic() + _BETWEEN_CHECKS_SECONDS
                await asyncio.sleep(_PAUSE_FACTOR * (time.monotonic() - began_at))
        except StorageError as error:
            self._end_all(error)

    async def _read_finished(self) -> None:
        finished = Query(TASKS, (one_of("id", [*self._waiters]), IS_FINISHED))
        rows, unreadable = await readable_values(self._engine, finished, _FIELDS)
        for row in rows:
            for waiter in self._take(str(row[_ID])):
                try:
                    # Each waiter gets a record of its own, since its caller may change it.
                    waiter.set_result(codec_of(TaskModel).decode(row))
                except StorageError as error:
                    waiter.set_exception(error)
        for each in unreadable:
            self._refuse(each.id or "", each)

    async def _read_missing(self) -> None:
        awaited = [*self._waiters]
        rows, _ = await readable_values(self._engine, Query(TASKS, (one_of("id", awaited),)), ("id",))
        for id in {*awaited} - {str(row[0]) for row in rows}:
            self._refuse(id, NotFoundError(f"task {id!r}; it was deleted while a call waited for it"))

    def _take(self, id: str) -> list[Waiter]:
        return [waiter for waiter in self._waiters.get(id, ()) if not waiter.done()]

    def _refuse(self, id: str, error: StorageError) -> None:
        for waiter in self._take(id):
            waiter.set_exception(copy_error(error))

    def _end_all(self, error: StorageError) -> None:
        self.is_over = True
        self._watch.close()
        for id in [*self._waiters]:
            self._refuse(id, error)


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
