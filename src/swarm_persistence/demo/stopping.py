"""Turns a signal into a request to stop, and a second signal into one to stop at once."""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Stopping:
    """Whether to stop, gracefully or at once. Belongs to one event loop; `request` is thread-safe."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.requested = asyncio.Event()
        self.urgent = asyncio.Event()
        self.exit_code = 0
        """The exit code by which a shell knows that this signal ended the process; 0 without a signal."""

    @property
    def is_requested(self) -> bool:
        """Return whether to stop."""
        return self.requested.is_set()

    def request(self, number: int = 0) -> None:
        """Request a stop; the second request means at once."""
        if number and not self.exit_code:
            self.exit_code = 128 + number
        # the loop is closed, so nothing is running
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._set)

    async def wait(self, seconds: float) -> None:
        """Return after this many seconds, or as soon as a stop is requested."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self.requested.wait(), seconds)

    def _set(self) -> None:
        if self.requested.is_set():
            self.urgent.set()
        self.requested.set()


@contextmanager
def stop_on_signals() -> Iterator[Stopping]:
    """Let SIGINT, SIGTERM and SIGHUP request a stop within the block; an ignored signal stays ignored."""
    stopping = Stopping()

    def handle(number: int, _frame: FrameType | None) -> None:
        stopping.request(number)

    handled = [number for number in _SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    previous = {number: signal.signal(number, handle) for number in handled}
    try:
        yield stopping
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
