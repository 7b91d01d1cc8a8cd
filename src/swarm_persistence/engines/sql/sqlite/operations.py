"""An operation on its way from an event loop to a thread and back, and the batches in which operations travel."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from swarm_persistence.engines.sql.sqlite.statements import Parameters, Statement

Part = tuple[Statement, Parameters]


class Operation:
    """One or more statements that succeed or fail together; its result holds one of each."""

    __slots__ = ("error", "future", "parts", "result")

    def __init__(self, future: "asyncio.Future[Any]", parts: Sequence[Part] = ()) -> None:
        self.future = future
        self.parts = parts
        self.result: Any = None
        self.error: BaseException | None = None

    def settle(self) -> None:
        """Give the outcome to the caller; runs in the caller's loop."""
        if not self.future.done():
            if self.error is None:
                self.future.set_result(self.result)
            else:
                self.future.set_exception(self.error)

    def discard(self) -> None:
        """Undo what nobody will ever take."""


class Read(Operation):
    """One statement that changes nothing; its result is the operation's."""

    __slots__ = ()


class Action(Operation):
    """Something that the writer does by itself, outside of any group."""

    __slots__ = ("action", "following", "unclaimed")

    def __init__(
        self,
        future: "asyncio.Future[Any]",
        action: Callable[[], Any],
        following: Callable[[], None] | None = None,
        unclaimed: Callable[[Any], None] | None = None,
    ) -> None:
        super().__init__(future)
        self.action = action
        self.following = following
        """What the writer does once the action has succeeded and its result is on the way."""
        self.unclaimed = unclaimed
        """Called with the result when the caller was cancelled before it could take it."""

    def settle(self) -> None:
        """Give the outcome to the caller; what a cancelled one no longer takes is undone."""
        if self.future.done():
            self.discard()
        super().settle()

    def discard(self) -> None:
        """Undo what nobody will ever take."""
        if self.unclaimed is not None and self.error is None and self.result is not None:
            self.unclaimed(self.result)
