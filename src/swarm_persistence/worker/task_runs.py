"""Runs the handler of one claimed task, extends its lease meanwhile, and records the outcome."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from enum import Enum, StrEnum
from typing import Any, NamedTuple

import msgspec

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
)
from swarm_persistence.models import TaskModel, TaskStatus
from swarm_persistence.query.task_statuses import HELD
from swarm_persistence.storage import Storage
from swarm_persistence.worker import lost_answers
from swarm_persistence.worker.failures import described

CANCEL_GRACE_SECONDS = 5.0
"""How long a cancelled handler may clean up before its task is released anyway."""

_TRANSIENT = (DatabaseError, PoolError, TransactionError)

_log = logging.getLogger("swarm_persistence")


class Outcome(StrEnum):
    """The outcome of a claimed task."""

    COMPLETED = "completed"
    RETRIED = "retried"
    FAILED = "failed"
    GIVEN_BACK = "given back"
    LOST = "lost"


_ENDED_BY_HANDLER = {TaskStatus.COMPLETED: Outcome.COMPLETED, TaskStatus.FAILED: Outcome.FAILED}


class TaskLimits(NamedTuple):
    """The time limits of a task, in seconds."""

    lease: float
    task_timeout: float | None


class _HandlerEnd(Enum):
    HANDLED = 1
    GIVEN_UP = 2
    TIMED_OUT = 3
    LOST = 4


class _HandlerResult(NamedTuple):
    value: Any
    error: BaseException | None


class TaskRun:
    """One claim of a task, from the start of its handler until its outcome is recorded."""

    def __init__(
        self,
        storage: Storage,
        task: TaskModel,
        handle: Callable[[TaskModel], Awaitable[Any]],
        handler_name: str,
        limits: TaskLimits,
    ) -> None:
        self.outcome: Outcome | None = None
        self.handler_name = handler_name
        self.handling: asyncio.Task[_HandlerResult] | None = None
        """The asyncio task that runs the handler."""
        self.settled = asyncio.Event()
        """Set once nothing more will be written; the handler may still be running."""
        self._storage = storage
        self.task = task
        """The copy by which the claim is extended and ended."""
        # The handler gets a copy of its own, which it may change, or complete by itself.
        self._given = msgspec.structs.replace(task)
        self._handle = handle
        self._limits = limits
        self._ends_at = float("inf") if limits.task_timeout is None else time.monotonic() + limits.task_timeout
        self._given_up = asyncio.Event()
        self._called = asyncio.Event()
        """Set to interrupt the wait for the handler."""

    def give_back(self) -> None:
        """Cancel the handler and release the task."""
        self._given_up.set()
        self._called.set()

    def check_claim(self) -> None:
        """Check at once whether the claim still holds, rather than when its lease is next extended."""
        if not self._is_ended_by_handler:
            self._called.set()

    async def extend_from_elsewhere(self) -> None:
        """Extend the lease from another loop while this run's own is blocked, but not beyond `task_timeout`."""
        if self.settled.is_set() or time.monotonic() >= self._ends_at:
            return
        try:
            await self._storage.extend_lease(msgspec.structs.replace(self.task), lease=self._limits.lease)
        except LeaseLostError:
            pass  # this run finds out as soon as its loop runs again
        except ClosedError:
            raise
        except StorageError as error:
            _log.error("the lease of %s, whose event loop is blocked, could not be extended: %s", self.name, error)

    async def carry_out(self) -> None:
        """Run the handler, keep the claim meanwhile, and record the outcome."""
        handling = asyncio.create_task(self._answer(), name=f"handler of task {self.task.id}")
        self.handling = handling
        try:
            self.outcome = await self._settle(handling)
        finally:
            self.settled.set()
            handling.cancel()
        if not handling.done():
            _log.error(
                "the handler of %s keeps running although it was cancelled; it counts as one of `concurrency`",
                self.name,
            )
            await asyncio.wait((handling,))

    async def _settle(self, handling: "asyncio.Task[_HandlerResult]") -> Outcome:
        end = await self._attend(handling)
        if end is not _HandlerEnd.HANDLED:
            handling.cancel()
            await asyncio.wait((handling,), timeout=CANCEL_GRACE_SECONDS)
        if end is _HandlerEnd.LOST:
            return Outcome.LOST
        if end is _HandlerEnd.GIVEN_UP:
            return await self._insist(self._release, self._found_released)
        if end is _HandlerEnd.TIMED_OUT:
            return await self._fail(f"the handler took longer than {self._limits.task_timeout:g} s")
        if handling.cancelled():
            return await self._fail("the handler was cancelled")
        answer = handling.result()
        if answer.error is None:
            return await self._insist(lambda: self._complete(answer.value), self._found_completed)
        _log.warning("the handler of %s failed", self.name, exc_info=answer.error)
        return await self._fail(described(answer.error))

    async def _answer(self) -> _HandlerResult:
        try:
            return _HandlerResult(await self._handle(self._given), None)
        except (KeyboardInterrupt, asyncio.CancelledError):
            raise
        except BaseException as error:
            # Even sys.exit() in a handler fails its task only: else each worker that retries the task would exit.
            return _HandlerResult(None, error)

    async def _attend(self, handling: "asyncio.Task[_HandlerResult]") -> _HandlerEnd:
        """Keep the claim until the handler has ended or must be cancelled."""
        loop = asyncio.get_running_loop()
        pause = self._limits.lease / 3  # leaves two more attempts before the lease expires
        extend_at = loop.time() + pause
        called = asyncio.create_task(self._called.wait())
        try:
            while True:
                rest = max(min(self._ends_at - time.monotonic(), extend_at - loop.time()), 0)
                await asyncio.wait((handling, called), timeout=rest, return_when=asyncio.FIRST_COMPLETED)
                if handling.done():
                    return _HandlerEnd.HANDLED
                if self._given_up.is_set():
                    return _HandlerEnd.GIVEN_UP
                if time.monotonic() >= self._ends_at:
                    return _HandlerEnd.TIMED_OUT
                if called.done():
                    self._called.clear()
                    called = asyncio.create_task(self._called.wait())
                    extend_at = loop.time()
                if loop.time() >= extend_at:
                    is_extended = await self._extend()
                    if is_extended is None:
                        return _HandlerEnd.LOST
                    extend_at = loop.time() + (pause if is_extended else pause / 4)
        finally:
            called.cancel()

    async def _extend(self) -> bool | None:
        """Extend the lease; return whether that succeeded, or `None` if the claim is over."""
        try:
            await self._storage.extend_lease(self.task, lease=self._limits.lease)
        except LeaseLostError as error:
            if self._is_ended_by_handler:
                return True
            _log.warning("the handler of %s is cancelled: %s", self.name, error)
            return None
        except ClosedError:
            raise
        except StorageError as error:
            # The claim may outlast its lease: it ends when a worker requeues the task.
            _log.error("the lease of %s could not be extended: %s", self.name, error)
            return False
        return True

    async def _complete(self, result: Any) -> Outcome:
        try:
            await self._storage.complete_task(self.task, result)
        except SerializationError as error:
            _log.warning("the result of %s cannot be stored: %s", self.name, error)
            return await self._record_failure(str(error))
        return Outcome.COMPLETED

    async def _fail(self, error: str) -> Outcome:
        return await self._insist(lambda: self._record_failure(error), lambda stored: self._found_failed(stored, error))

    async def _record_failure(self, error: str) -> Outcome:
        await self._storage.fail_task(self.task, error)
        return Outcome.FAILED if self.task.status is TaskStatus.FAILED else Outcome.RETRIED

    async def _release(self) -> Outcome:
        await self._storage.release_task(self.task)
        return Outcome.GIVEN_BACK

    async def _insist(
        self, write: Callable[[], Awaitable[Outcome]], found: Callable[[TaskModel], Outcome | None]
    ) -> Outcome:
        """Write the outcome, with retries on transient errors; not at all if the claim is over.

        An earlier attempt whose answer was lost may have ended the claim: `found` returns its outcome, according to the
        stored task.
        """
        backoff = Backoff()
        has_lost_an_answer = False
        while True:
            is_last_attempt = self._given_up.is_set()
            try:
                return await self._write_or_find(write, found if has_lost_an_answer else None)
            except LeaseLostError as error:
                if self._is_ended_by_handler:
                    return _ENDED_BY_HANDLER.get(self._given.status, Outcome.GIVEN_BACK)
                _log.warning("the outcome of %s is not written: %s", self.name, error)
                return Outcome.LOST
            except _TRANSIENT as error:
                _log.error("the outcome of %s could not be written: %s", self.name, error)
                is_first_loss = isinstance(error, OutcomeUnknownError) and not has_lost_an_answer
                has_lost_an_answer = has_lost_an_answer or is_first_loss
                if is_last_attempt and not is_first_loss:
                    return Outcome.LOST  # another worker requeues it when its lease has expired
            except ClosedError:
                raise
            except StorageError as error:
                _log.error("the outcome of %s cannot be written: %s", self.name, error)
                return Outcome.LOST
            await self._pause(backoff.next())

    async def _write_or_find(
        self, write: Callable[[], Awaitable[Outcome]], found: Callable[[TaskModel], Outcome | None] | None
    ) -> Outcome:
        try:
            return await write()
        except LeaseLostError:
            if found is None:
                raise
            stored = await self._storage.get_task(self.task.id)
            outcome = None if stored is None else found(stored)
            if outcome is None:
                raise
            return outcome

    def _found_completed(self, stored: TaskModel) -> Outcome | None:
        return Outcome.COMPLETED if lost_answers.is_completed(stored, self.task) else None

    def _found_failed(self, stored: TaskModel, error: str) -> Outcome | None:
        if lost_answers.is_failed(stored, self.task, error):
            return Outcome.FAILED
        return Outcome.RETRIED if lost_answers.is_retried(stored, self.task, error) else None

    def _found_released(self, stored: TaskModel) -> Outcome | None:
        return Outcome.GIVEN_BACK if lost_answers.is_released(stored, self.task) else None

    async def _pause(self, seconds: float) -> None:
        giving_up = asyncio.create_task(self._given_up.wait())
        try:
            await asyncio.wait((giving_up,), timeout=seconds)
        finally:
            giving_up.cancel()

    @property
    def _is_ended_by_handler(self) -> bool:
        # A handler may complete its task by itself, in one transaction with its other writes.
        return self._given.status not in HELD

    @property
    def name(self) -> str:
        """Return the name of this run for messages."""
        return f"task {self.task.id!r} ({self.task.task_type})"
