"""MCP at `/mcp`, over streamable HTTP. The storage keeps sent events for clients that reconnect to their session."""

import asyncio
from typing import Any
from uuid import uuid4

from litestar.types import Message, Receive, Send

from swarm_persistence import Storage
from swarm_persistence.web.open_streams import OpenStreams
from swarm_persistence.web.problems import HttpProblem

PATH = "/mcp"


class McpEndpoint:
    """The endpoint of an application; starts at the first request: a mounted application gets no startup event."""

    def __init__(self, storage: Storage, streams: OpenStreams, *, is_read_only: bool, largest_body: int) -> None:
        self._storage = storage
        self._streams = streams
        self._is_read_only = is_read_only
        self._largest_body = largest_body
        self._running: asyncio.Task[None] | None = None
        self._started: asyncio.Future[Any] | None = None

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Serve one request, until the server stops.

        Raises:
            HttpProblem: the package `mcp` is not installed, or the server stops.

        """
        has_begun = is_over = False

        async def send_observed(message: Message) -> None:
            nonlocal has_begun, is_over
            has_begun = True
            is_over = message["type"] == "http.response.body" and not message.get("more_body", False)
            await send(message)

        with self._streams.open() as end:
            manager = await self._manager()
            serving = asyncio.ensure_future(manager.asgi_app(scope, receive, send_observed))
            try:
                await asyncio.wait({serving, end}, return_when=asyncio.FIRST_COMPLETED)
                if serving.done():
                    serving.result()
            finally:
                serving.cancel()
                await asyncio.wait({serving})
        if has_begun and not is_over:
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def close(self) -> None:
        """End all sessions."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait({self._running})

    async def _manager(self) -> Any:
        if self._started is None:
            self._started = asyncio.get_running_loop().create_future()
            self._running = asyncio.create_task(self._run(self._started))
        return await asyncio.shield(self._started)

    async def _run(self, started: "asyncio.Future[Any]") -> None:
        try:
            from swarm_persistence.mcp import swarm_server
        except ImportError as error:  # the error's text says what to install
            started.set_exception(HttpProblem(501, str(error)))
            return
        from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

        from swarm_persistence.contrib.mcp import SwarmEventStore

        storage, is_read_only = self._storage, self._is_read_only

        class SessionManager(StreamableHTTPSessionManager):
            def _admit_session(self, requestor: Any) -> Any:
                # The SDK gives one event store to all sessions, whose streams have equal names.
                self.event_store = None if is_read_only else SwarmEventStore(storage, session=uuid4().hex)
                return super()._admit_session(requestor)

        manager = SessionManager(
            swarm_server(storage, is_read_only=is_read_only),
            max_request_body_size=self._largest_body,
        )
        async with manager.run():
            started.set_result(manager)
            await asyncio.Event().wait()
