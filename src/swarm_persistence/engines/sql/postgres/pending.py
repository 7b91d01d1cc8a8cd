"""The operations in flight in one event loop: each runs in its own task, which is not cancelled with its caller.

An operation whose caller is cancelled either has not begun, and does nothing, or runs to its end. Later writes wait for
that end.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Any, TypeVar

from swarm_persistence.engines.sql.postgres.failures import still_unknown_outcome
from swarm_persistence.errors import StorageError, copy_error

T = TypeVar("T")


class PendingOperation:
    """A task, and the callers that wait for its result.

    `has_lost_an_answer` tells whether the answer to a write was lost, so that its outcome is unknown.
    """

    __slots__ = ("callers", "has_lost_an_answer", "is_waiting", "is_write", "number", "task")

    def __init__(self, number: int, callers: Sequence["asyncio.Future[Any]"], is_write: bool) -> None:
        self.number = number
        self.callers = callers
        self.is_write = is_write
        self.is_waiting = True
        self.has_lost_an_answer = False
        self.task: asyncio.Task[None]

    @property
    def has_cancelled_caller(self) -> bool:
        """Return whether this is a write, and a caller of it was cancelled."""
        return self.is_write and any(caller.cancelled() for caller in self.callers)

    @property
    def has_no_caller(self) -> bool:
        """Return whether no caller waits for the result any more."""
        return all(caller.done() for caller in self.callers)

    @contextmanager
    def ended_without_caller(self) -> Iterator[None]:
        """Within the block, which has begun nothing, end the operation once no caller waits for its result."""

        def end_if_unwanted(_: object) -> None:
            if self.has_no_caller:
                self.task.cancel()

        for caller in self.callers:
            caller.add_done_callback(end_if_unwanted)
        try:
            yield
        finally:
            for caller in self.callers:
                caller.remove_done_callback(end_if_unwanted)

    def fail(self, error: StorageError) -> None:
        """Give an error to the callers that are not answered yet."""
        for caller in self.callers:
            if not caller.done():
                caller.set_exception(copy_error(error))


class PendingOperations:
    """The operations in flight in one event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._operations: set[PendingOperation] = set()
        self._numbers = count()

    @property
    def waiting(self) -> int:
        """Return how many callers wait for a connection, or for the write lock."""
        return sum(len(operation.callers) for operation in self._operations if operation.is_waiting)

    def start(
        self,
        work: Callable[[PendingOperation], Coroutine[Any, Any, T]],
        *,
        is_write: bool,
        on_abandoned: Callable[[T | None], None] | None = None,
    ) -> "asyncio.Future[T]":
        """Start an operation for one caller, and return the future of its result.

        If the caller is cancelled, `on_abandoned` is called at the end: with the result, or `None` if it failed.
        """
        caller: asyncio.Future[T] = self._loop.create_future()
        result: T | None = None

        async def answer(operation: PendingOperation) -> None:
            nonlocal result
            result = await work(operation)
            if not caller.done():
                caller.set_result(result)

        def end() -> None:
            if on_abandoned is not None and caller.cancelled():
                on_abandoned(result)

        self.start_for((caller,), answer, is_write, end)
        return caller

    def start_for(
        self,
        callers: Sequence["asyncio.Future[Any]"],
        work: Callable[[PendingOperation], Coroutine[Any, Any, None]],
        is_write: bool,
        ended: Callable[[], None] = lambda: None,
    ) -> None:
        """Start an operation that sets the results of its callers' futures itself; `ended` is called at the end."""
        operation = PendingOperation(next(self._numbers), callers, is_write)

        async def answer() -> None:
            try:
                await work(operation)
            except Exception as error:
                for caller in callers:
                    if not caller.done():
                        caller.set_exception(error)
            except BaseException:
                for caller in callers:
                    caller.cancel()
                raise
            finally:
                ended()

        operation.task = self._loop.create_task(answer())
        self._operations.add(operation)
        operation.task.add_done_callback(lambda _: self._operations.discard(operation))

    async def wait_for_abandoned_writes(self, own: PendingOperation) -> None:
        """Wait for earlier writes whose caller was cancelled."""
        abandoned = [
            operation.task
            for operation in self._operations
            if operation.number < own.number and operation.has_cancelled_caller
        ]
        if abandoned:
            await asyncio.wait(abandoned)

    @property
    def are_attended(self) -> bool:
        """Return whether a caller waits for any of them."""
        return any(not operation.has_no_caller for operation in self._operations)

    def fail_waiting(self, error: StorageError) -> None:
        """Fail the operations that wait for a connection, or for the write lock."""
        for operation in self._operations:
            if operation.is_waiting:
                operation.fail(still_unknown_outcome(error) if operation.has_lost_an_answer else error)

    def __len__(self) -> int:
        return len(self._operations)

    async def wait_for_all(self, seconds: float) -> None:
        """Wait for all operations, and for those that they start, up to this number of seconds."""
        deadline = self._loop.time() + seconds
        while (tasks := [operation.task for operation in self._operations]) and (
            rest := deadline - self._loop.time()
        ) > 0:
            await asyncio.wait(tasks, timeout=rest)
