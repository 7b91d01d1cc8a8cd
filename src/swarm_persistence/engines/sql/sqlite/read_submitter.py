"""Runs the reads of a single caller in the event loop's own thread, and sends all others to the reader threads."""

import asyncio
import time
from collections.abc import Callable, Generator, Sequence
from types import coroutine
from typing import Any

from swarm_persistence.engines.sql.sqlite.submit import (
    MOST_SKIPPED,
    Batch,
    Operation,
    Submitter,
)
from swarm_persistence.engines.sql.statements import Statement


class ReadSubmitter(Submitter):
    """Submits the reads of one event loop."""

    fewest_skipped = MOST_SKIPPED

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        send: Callable[[Batch], None],
        timeout: float,
        explain: Callable[[], str],
        *,
        longest_stay: float,
        run_here: Callable[[Operation], bool],
    ) -> None:
        """Take what `Submitter` takes; `run_here` runs an operation in this thread, or tells that it cannot."""
        super().__init__(loop, send, timeout, explain, _never, longest_stay=longest_stay)
        self._run_here = run_here

    def submit(
        self,
        kind: Callable[..., Operation],
        compile: Callable[[Any], Sequence[Statement]],
        argument: Any,
        future: "asyncio.Future[Any] | None" = None,
    ) -> Any:
        """Run a read, or send it as `Submitter` does; return an awaitable of its result, not always a future."""
        if not self._was_single or self._collected or self._in_flight or self._has_run_here or future is not None:
            return super().submit(kind, compile, argument, future)
        operation = kind(self.loop.create_future(), compile(argument))
        if not self._skipped and self.longest_stay > 0 and self._is_done_here(operation):
            self._has_run_here = True
            return self._next_tick(operation)
        return super().submit(kind, tuple, operation.statements, operation.future)  # compiled already

    def flush(self) -> None:
        """Send the collected operations."""
        self._has_run_here = False  # also where the caller of the one that has run was cancelled
        super().flush()

    def _is_done_here(self, operation: Operation) -> bool:
        """Run an operation in the loop's own thread, and tell whether that was possible.

        Most are done in a fraction of the time that the way to another thread and back takes. If one has taken longer,
        because the disk had to be asked, the next ones take that way for a while.
        """
        start = time.monotonic()
        is_done = self._run_here(operation)
        if time.monotonic() - start > self.longest_stay and operation.statements[0].is_short:
            self._back_off()
        return is_done

    @coroutine
    def _next_tick(self, operation: Operation) -> Generator[None, None, Any]:
        """Give the outcome of an operation that has run in this thread, in the next tick.

        Not at once: a loop of awaits must let the other tasks run. A future would take one tick more.
        """
        yield
        self._has_run_here = False
        if operation.error is not None:
            raise operation.error
        return operation.result


def _never() -> bool:
    return False
