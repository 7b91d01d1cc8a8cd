"""What is under way in one event loop: each operation in a task of its own, which its caller's cancellation spares.

A caller who gives up leaves either nothing behind, or an operation that goes on to its end; then whatever is written
later waits for that end.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from itertools import count
from typing import Any, TypeVar

T = TypeVar("T")


class PendingOperation:
    """A task, and those who wait for its answer.

    `has_lost_an_answer` tells whether a write of it was sent, and nobody knows whether it is stored.
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
    def is_forsaken(self) -> bool:
        """Tell whether a caller has given up on a write."""
        return self.is_write and any(caller.cancelled() for caller in self.callers)

    @property
    def is_unwanted(self) -> bool:
        """Tell whether nobody waits for the answer any more."""
        return all(caller.done() for caller in self.callers)


class PendingOperations:
    """The operations of one loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._operations: set[PendingOperation] = set()
        self._numbers = count()

    @property
    def waiting(self) -> int:
        """Return how many callers wait for a connection, or for their turn."""
        return sum(len(operation.callers) for operation in self._operations if operation.is_waiting)

    def start(
        self,
        work: Callable[[PendingOperation], Coroutine[Any, Any, T]],
        *,
        is_write: bool,
        on_abandoned: Callable[[T | None], None] | None = None,
    ) -> "asyncio.Future[T]":
        """Do some work for one caller, and return where its outcome will be.

        `on_abandoned` is called if the caller has given up by then: with the result, or with `None` if there is none.
        """
        caller: asyncio.Future[T] = self._loop.create_future()
        operation = PendingOperation(next(self._numbers), (caller,), is_write)

        async def answer() -> None:
            result: T | None = None
            try:
                result = await work(operation)
                if not caller.done():
                    caller.set_result(result)
            except Exception as error:
                if not caller.done():
                    caller.set_exception(error)
            except BaseException:
                caller.cancel()
                raise
            finally:
                if on_abandoned is not None and caller.cancelled():
                    on_abandoned(result)

        self._launch(operation, answer())
        return caller

    def start_for(
        self,
        callers: Sequence["asyncio.Future[Any]"],
        work: Callable[[PendingOperation], Coroutine[Any, Any, None]],
        is_write: bool,
    ) -> None:
        """Do some work that answers many callers itself."""
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

        self._launch(operation, answer())

    async def forsaken_writes_are_done(self, own: PendingOperation) -> None:
        """Wait for the earlier writes whose callers have given up."""
        forsaken = [
            operation.task for operation in self._operations if operation.number < own.number and operation.is_forsaken
        ]
        if forsaken:
            await asyncio.wait(forsaken)

    async def all_are_done(self, seconds: float) -> None:
        """Wait for all work, and for what that starts, for so long at most."""
        deadline = self._loop.time() + seconds
        while (tasks := [operation.task for operation in self._operations]) and (
            rest := deadline - self._loop.time()
        ) > 0:
            await asyncio.wait(tasks, timeout=rest)

    def _launch(self, operation: PendingOperation, answer: Coroutine[Any, Any, None]) -> None:
        operation.task = self._loop.create_task(answer)
        self._operations.add(operation)
        operation.task.add_done_callback(lambda _: self._operations.discard(operation))
