"""What a caller asks the database for: statements that succeed or fail together, and where the outcome goes."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, NoReturn

import msgspec

from swarm_persistence.engines.delivery import delivered
from swarm_persistence.engines.sql.statements import Statement


# Structs that the garbage collector does not look at, as thousands are in flight: `_forget_error` ends their cycles.
class Operation(msgspec.Struct, eq=False, gc=False):
    """One or more statements that succeed or fail together; its result holds one of each."""

    future: "asyncio.Future[Any] | None"
    """What the caller awaits; without one, the caller takes the outcome from the operation itself."""
    statements: Sequence[Statement] = ()
    result: Any = None
    error: BaseException | None = None

    @property
    def is_wanted(self) -> bool:
        """Return whether the caller was not cancelled."""
        return self.future is None or not self.future.cancelled()

    def settle(self) -> None:
        """Give the outcome to the caller; runs in the caller's loop."""
        future, error = self.future, self.error
        if future is None:
            return
        if future.done():
            self.discard()
        elif error is None:
            future.set_result(self.result)
        else:
            self._forget_error()
            future.set_exception(error)

    def raise_error(self) -> NoReturn:
        """Raise the error, once."""
        error = self.error
        assert error is not None
        self._forget_error()
        try:
            raise error
        finally:
            del error  # or its traceback would be a cycle

    def awaited(self, loop: asyncio.AbstractEventLoop) -> Awaitable[Any]:
        """Return what the caller awaits while another thread runs the operation."""
        return self.future_in(loop)

    def future_in(self, loop: asyncio.AbstractEventLoop) -> "asyncio.Future[Any]":
        """Return the future; create it at the first call."""
        if (future := self.future) is None:
            future = self.future = loop.create_future()
        return future

    def discard(self) -> None:
        """Undo an operation whose result no caller takes."""
        self._forget_error()

    def _forget_error(self) -> None:
        """Forget an error that is delivered: its traceback leads to the operation, and no collector sees that cycle."""
        if self.error is not None:
            # The error last: `changed_by`, in another thread, looks at it first.
            self.result = self.future = self.error = None


class QueryOperation(Operation, eq=False, gc=False):
    """One statement that changes nothing; its result is the operation's."""


class Delivery(Operation, eq=False, kw_only=True):
    """An operation whose result must not be lost when its caller is cancelled."""

    on_abandoned: Callable[[Any], None] | None = None
    """Called when the caller was cancelled: with the result, or with `None` if there is none."""

    def awaited(self, loop: asyncio.AbstractEventLoop) -> Awaitable[Any]:
        future = self.future_in(loop)
        return future if self.on_abandoned is None else delivered(future, self.on_abandoned)

    def discard(self) -> None:
        """Undo it by `on_abandoned`."""
        result = None if self.error is not None else self.result
        super().discard()
        if self.on_abandoned is not None:
            self.on_abandoned(result)


class Action(Delivery, eq=False, kw_only=True):
    """A function that the writer runs, outside of any group."""

    action: Callable[[], Any]
    deadline: float | None = None
    """Up to when the action waits for another process, if not up to `connection_timeout`."""
    following: Callable[[], None] | None = None
    """Called by the writer after the action has succeeded and its result was sent."""


def is_any_wanted(operations: Iterable[Operation]) -> bool:
    """Tell whether the caller of an operation was not cancelled."""
    return any(operation.is_wanted for operation in operations)
