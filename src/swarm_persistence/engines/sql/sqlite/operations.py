"""An operation on its way from an event loop to a thread and back, and the batches in which operations travel."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from swarm_persistence.engines.sql.statements import Statement


# Structs that the garbage collector need not look at: thousands of them are on their way at once, in no cycle.
class Operation(msgspec.Struct, eq=False, gc=False):
    """One or more statements that succeed or fail together; its result holds one of each."""

    future: "asyncio.Future[Any]"
    statements: Sequence[Statement] = ()
    result: Any = None
    error: BaseException | None = None

    def settle(self) -> None:
        """Give the outcome to the caller; runs in the caller's loop."""
        if not self.future.done():
            if self.error is None:
                self.future.set_result(self.result)
            else:
                self.future.set_exception(self.error)

    def discard(self) -> None:
        """Undo what nobody will ever take."""


class QueryOperation(Operation, eq=False, gc=False):
    """One statement that changes nothing; its result is the operation's."""


class Delivery(Operation, eq=False, kw_only=True):
    """An operation whose result must not be lost when its caller is cancelled."""

    on_abandoned: Callable[[Any], None] | None = None
    """Called when the caller was cancelled: with the result, or with `None` if there is none."""

    def settle(self) -> None:
        """Give the outcome to the caller, or tell that the caller was cancelled."""
        if self.future.done():
            self.discard()
        Operation.settle(self)

    def discard(self) -> None:
        """Tell that no caller takes the result."""
        if self.on_abandoned is not None:
            self.on_abandoned(None if self.error is not None else self.result)


class Action(Delivery, eq=False, kw_only=True):
    """Something that the writer does by itself, outside of any group."""

    action: Callable[[], Any]
    following: Callable[[], None] | None = None
    """What the writer does once the action has succeeded and its result is on the way."""
