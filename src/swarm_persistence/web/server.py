"""Runs the application by itself on uvicorn, until a signal, which ends its streams at once."""

import asyncio
import signal
import socket
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager, suppress

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from swarm_persistence.web.app import SwarmApp
from swarm_persistence.web.problems import MEDIA_TYPE, problem_body

_LONGEST_REQUEST_SECONDS = 0.75
"""How long a request in flight, or a client that does not read, can delay the end."""
_LONGEST_HANDLER_SECONDS = 2
"""After so long, the handler of a request whose connection was aborted is cancelled."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class _Connection(HttpToolsProtocol):
    """A connection that answers malformed requests as all others that fail, and ends half-sent ones with the server."""

    def shutdown(self) -> None:
        """Close if no request is in flight, and abort if only a part of one has arrived: the rest may never arrive."""
        super().shutdown()
        if self.cycle is not None and self.cycle.more_body and not self.cycle.response_complete:
            self.transport.abort()

    def send_400_response(self, msg: str) -> None:
        """Answer with a problem, and close the connection."""
        body = problem_body(400, msg)
        head = f"HTTP/1.1 400 Bad Request\r\ncontent-type: {MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\n"
        self.transport.write(head.encode() + b"connection: close\r\n\r\n" + body)
        self.transport.close()


class SwarmServer(uvicorn.Server):
    """A server of one swarm; `announce` is called once it serves, and a signal stops it gracefully."""

    def __init__(
        self, app: SwarmApp, *, stops_at_signals: bool = True, announce: Callable[[], None] = lambda: None
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=_Connection,
                log_level="warning",
                access_log=False,
                server_header=False,
                lifespan="on",
                ws="none",
                timeout_graceful_shutdown=_LONGEST_HANDLER_SECONDS,
            )
        )
        self._app = app
        self._stops_at_signals = stops_at_signals
        self._announce = announce
        self._is_urgent = asyncio.Event()
        self.stopped_by: signal.Signals | None = None

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Stop gracefully at the first signal; wait for no client any longer at the second.

        uvicorn would re-raise the signal, which ends the process before the storage is closed. At the second one, it
        would leave out the application's shutdown, and log the cancellation of each request.
        """
        loop = asyncio.get_running_loop()

        def stop(number: int, _frame: object) -> None:
            if self.should_exit:
                loop.call_soon_threadsafe(self._is_urgent.set)
            self.stopped_by = self.stopped_by or signal.Signals(number)
            self.should_exit = True

        before = {each: signal.signal(each, stop) for each in _SIGNALS if self._stops_at_signals}
        try:
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and call `announce`."""
        await super().startup(sockets)
        if self.started:
            self._announce()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the streams, which would never end by themselves, then the server."""
        self._app.end_streams()
        aborting = asyncio.create_task(self._abort_connections())
        try:
            await super().shutdown(sockets)
        finally:
            aborting.cancel()

    async def _abort_connections(self) -> None:
        # Their handlers notice the disconnection and end; uvicorn would cancel them, and log an error for each.
        with suppress(TimeoutError):
            await asyncio.wait_for(self._is_urgent.wait(), _LONGEST_REQUEST_SECONDS)
        for connection in [*self.server_state.connections]:
            connection.transport.abort()


@asynccontextmanager
async def serving(app: SwarmApp, listener: socket.socket) -> AsyncIterator[str]:
    """Serve in the background of an event loop, leaving signals to the program; yield the address of the page."""
    server = SwarmServer(app, stops_at_signals=False)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield url_of(listener)
    finally:
        server.should_exit = True
        await task


def url_of(listener: socket.socket) -> str:
    """Return the address of the page."""
    host, port = listener.getsockname()[:2]
    shown_host = f"[{host}]" if ":" in host else host
    return f"http://{shown_host}:{port}/"
