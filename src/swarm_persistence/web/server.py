"""Runs the application by itself on uvicorn, until a signal, which ends its streams at once."""

import signal
import socket
from collections.abc import Generator
from contextlib import contextmanager

import uvicorn

from swarm_persistence.web.app import SwarmApp

_LONGEST_REQUEST_SECONDS = 1
"""How long a request that is under way, or a client that does not read, can delay the end."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class SwarmServer(uvicorn.Server):
    """A server of one swarm."""

    def __init__(self, app: SwarmApp) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                log_level="warning",
                access_log=False,
                server_header=False,
                lifespan="on",
                ws="none",
                timeout_graceful_shutdown=_LONGEST_REQUEST_SECONDS,
            )
        )
        self._app = app
        self.stopped_by: signal.Signals | None = None

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Stop at the first signal; uvicorn would raise it again, and end the process before the storage is closed."""

        def stop(number: int, _frame: object) -> None:
            self.stopped_by = signal.Signals(number)
            self.should_exit = True

        before = {each: signal.signal(each, stop) for each in _SIGNALS}
        try:
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the streams, which would go on for ever, then the server."""
        self._app.end_streams()
        await super().shutdown(sockets)
