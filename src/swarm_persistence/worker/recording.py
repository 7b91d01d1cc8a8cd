"""Writes the outcome of one task, with retries, and finds out whether a write whose answer was lost is stored."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from enum import StrEnum
from functools import partial
from typing import Any

from swarm_persistence.backoff import Backoff
from swarm_persistence.errors import (
    ClosedError,
    DatabaseError,
    LeaseLostError,
    OutcomeUnknownError,
    PoolError,
    SerializationError,
    StorageError,
    TransactionError,
    UnreadableError,
)
from swarm_persistence.models import TaskModel, TaskStatus
from swarm_persistence.query.task_statuses import HELD
from swarm_persistence.storage import Storage
from swarm_persistence.worker.logs import task_log
from swarm_persistence.worker.retry_policies import Failure

HAND_BACK_SECONDS = 2.0
"""How long a worker that stops at once tries to write an outcome or release a task."""

_TRANSIENT = (DatabaseError, PoolError, TransactionError)

_log = logging.getLogger(__name__)


class Outcome(StrEnum):
    """The outcome of a claimed task."""

    COMPLETED = "completed"
    RETRIED = "retried"
    FAILED = "failed"
    SNOOZED = "snoozed"
    GIVEN_BACK = "given back"
    LOST = "lost"


_ENDED_BY_HANDLER = {TaskStatus.COMPLETED: Outcome.COMPLETED, TaskStatus.FAILED: Outcome.FAILED}


class Recorder:
    """Records the outcome of one claim."""

    def __init__(self, storage: Storage, task: TaskModel, given: TaskModel) -> None:
        """Take the copy by which the claim is ended, and the handler's own."""
        self._given_up = asyncio.Event()
        self._limit: asyncio.Timeout | None = None
        """That of the attempt in flight."""
        self._storage = storage
        self._task = task
        self._given = given

    @property
    def is_ended_by_handler(self) -> bool:
        """Tell whether the handler itself has ended its task, in one transaction with its other writes."""
        return self._given.status not in HELD

    def give_up(self) -> None:
        """Make the next attempt the last one; it and the attempt in flight get `HAND_BACK_SECONDS`."""
        if self._given_up.is_set():
            return
        self._given_up.set()
        if self._limit is not None:
            self._limit.reschedule(asyncio.get_running_loop().time() + HAND_BACK_SECONDS)

    async def complete(self, result: Any, *, may_be_stored: bool = False) -> Outcome:
        """Complete the task; an earlier write, whose outcome is unknown, may have done that."""
        return await self._write_with_retries(
            lambda: self._complete(result), partial(found_completed, self._task), may_be_stored=may_be_stored
        )

    async def fail(self, failure: Failure) -> Outcome:
        """Fail the task, which is then retried or has failed for good."""
        return await self._write_with_retries(
            lambda: self._record_failure(failure), partial(found_failed, self._task, failure.error)
        )

    async def snooze(self, seconds: float) -> Outcome:
        """Release the claim; the task is ready again after this number of seconds."""
        outcome = await self._write_with_retries(lambda: self._release(seconds), partial(found_released, self._task))
        return Outcome.SNOOZED if outcome is Outcome.GIVEN_BACK else outcome

    async def release(self) -> Outcome:
        """Release the claim."""
        return await self._write_with_retries(self._release, partial(found_released, self._task))

    async def _complete(self, result: Any) -> Outcome:
        try:
            await self._storage.complete_task(self._task, result)
        except UnreadableError:
            raise  # the task itself, not the result
        except SerializationError as error:
            task_log(_log, self._task).warning("the result of %s cannot be stored: %s", name_of(self._task), error)
            # Another run of the handler would hardly give another kind of result.
            return await self._record_failure(Failure(str(error), None, 0))
        return Outcome.COMPLETED

    async def _record_failure(self, failure: Failure) -> Outcome:
        error, retry_in, max_retries = failure
        await self._storage.fail_task(self._task, error, retry_in=retry_in, max_retries=max_retries)
        return Outcome.FAILED if self._task.status is TaskStatus.FAILED else Outcome.RETRIED

    async def _release(self, seconds: float = 0.0) -> Outcome:
        await self._storage.release_task(self._task, retry_in=seconds)
        return Outcome.GIVEN_BACK

    async def _write_with_retries(
        self,
        write: Callable[[], Awaitable[Outcome]],
        found: Callable[[TaskModel], Outcome | None],
        *,
        may_be_stored: bool = False,
    ) -> Outcome:
        """Write the outcome, with retries on transient errors; not at all if the claim is over.

        An earlier attempt whose answer was lost may have ended the claim: `found` returns its outcome from the stored
        task.
        """
        backoff = Backoff()
        has_lost_an_answer = False
        while True:
            is_last_attempt = self._given_up.is_set()
            try:
                async with asyncio.timeout(HAND_BACK_SECONDS if is_last_attempt else None) as self._limit:
                    return await self._write_or_find(write, found if has_lost_an_answer or may_be_stored else None)
            except TimeoutError:
                task_log(_log, self._task).error("%s", not_written(self._task))
                return Outcome.LOST
            except LeaseLostError as error:
                if self.is_ended_by_handler:
                    return _ENDED_BY_HANDLER.get(self._given.status, Outcome.GIVEN_BACK)
                task_log(_log, self._task).warning("the outcome of %s is not written: %s", name_of(self._task), error)
                return Outcome.LOST
            except _TRANSIENT as error:
                task_log(_log, self._task).error(
                    "the outcome of %s could not be written: %s", name_of(self._task), error
                )
                is_first_loss = isinstance(error, OutcomeUnknownError) and not has_lost_an_answer
                has_lost_an_answer = has_lost_an_answer or is_first_loss
                if is_last_attempt and not is_first_loss:
                    return Outcome.LOST  # another worker requeues it when its lease has expired
            except ClosedError:
                raise
            except StorageError as error:
                task_log(_log, self._task).error("the outcome of %s cannot be written: %s", name_of(self._task), error)
                return Outcome.LOST
            finally:
                self._limit = None
            await self._pause(backoff.next())

    async def _write_or_find(
        self, write: Callable[[], Awaitable[Outcome]], found: Callable[[TaskModel], Outcome | None] | None
    ) -> Outcome:
        try:
            return await write()
        except LeaseLostError:
            if found is None:
                raise
            stored = await self._storage.get_task(self._task.id)
            outcome = None if stored is None else found(stored)
            if outcome is None:
                raise
            return outcome

    async def _pause(self, seconds: float) -> None:
        giving_up = asyncio.create_task(self._given_up.wait())
        try:
            await asyncio.wait((giving_up,), timeout=seconds)
        finally:
            giving_up.cancel()


def found_completed(claimed: TaskModel, stored: TaskModel) -> Outcome | None:
    """Tell from the stored task whether this claim has completed it."""
    is_ours = stored.status is TaskStatus.COMPLETED and _is_of_claim(stored, claimed)
    return Outcome.COMPLETED if is_ours else None


def found_failed(claimed: TaskModel, error: str, stored: TaskModel) -> Outcome | None:
    """Tell from the stored task whether this claim has failed it for good, or for a retry, which may be over by now."""
    if stored.error != error:
        return None
    if stored.status is TaskStatus.FAILED and _is_of_claim(stored, claimed):
        return Outcome.FAILED
    return Outcome.RETRIED if stored.retry_count > claimed.retry_count else None


def found_released(claimed: TaskModel, stored: TaskModel) -> Outcome | None:
    """Tell from the stored task whether this claim has released it, and no other claim has taken it since."""
    counters = (stored.claim_count, stored.retry_count)
    is_ours = stored.status is TaskStatus.PENDING and counters == (claimed.claim_count, claimed.retry_count)
    return Outcome.GIVEN_BACK if is_ours else None


def _is_of_claim(stored: TaskModel, claimed: TaskModel) -> bool:
    return (stored.assigned_to, stored.claim_count) == (claimed.assigned_to, claimed.claim_count)


def name_of(task: TaskModel) -> str:
    """Return the name of a task for messages."""
    return f"task {task.id!r} ({task.task_type})"


def not_written(task: TaskModel) -> str:
    """Return the message for an outcome that a stopping worker could not write in time."""
    return (
        f"the outcome of {name_of(task)} was not written within {HAND_BACK_SECONDS:g} s after the stop; another worker "
        "takes the task over once its lease has expired"
    )
