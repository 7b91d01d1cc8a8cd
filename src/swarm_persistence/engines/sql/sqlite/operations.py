"""An operation on its way from an event loop to a thread and back, and the batches in which operations travel."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from swarm_persistence.engines.sql.sqlite.statements import Parameters, Statement

Part = tuple[Statement, Parameters]


class Operation:
    """One or more statements that succeed or fail together, or an exclusive action of the writer."""

    __slots__ = ("action", "error", "following", "future", "parts", "result", "unclaimed")

    def __init__(
        self,
        future: "asyncio.Future[Any]",
        parts: Sequence[Part] = (),
        action: Callable[[], Any] | None = None,
        following: Callable[[], None] | None = None,
        unclaimed: Callable[[Any], None] | None = None,
    ) -> None:
        self.future = future
        self.parts = parts
        self.action = action
        self.following = following
        """What the writer does once the action has succeeded and its result is on the way."""
        self.unclaimed = unclaimed
        """Called with the result when the caller was cancelled before it could take it."""
        self.result: Any = None
        self.error: BaseException | None = None

    def settle(self) -> None:
        """Give the outcome to the caller; runs in the caller's loop."""
        if self.future.done():
            if self.unclaimed is not None and self.error is None and self.result is not None:
                self.unclaimed(self.result)
        elif self.error is None:
            self.future.set_result(self.result)
        else:
            self.future.set_exception(self.error)
