"""The open streams and long polls: they end if their client disconnects, and all at once when the server stops."""

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from litestar import Request

from swarm_persistence.web.problems import RETRY_SECONDS, HttpProblem

T = TypeVar("T")


class OpenStreams:
    """The open streams and long polls of one application."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._ends: set[asyncio.Future[None]] = set()
        self._is_over = False

    def __len__(self) -> int:
        return len(self._ends)

    @contextmanager
    def open(self) -> Iterator["asyncio.Future[None]"]:
        """Return a future that is done once the stream must end; exit the context at the end of the stream.

        Raises:
            HttpProblem: the server is stopping, or has reached its limit of streams.

        """
        self.require_room()
        loop = asyncio.get_running_loop()
        end: asyncio.Future[None] = loop.create_future()
        self._ends.add(end)
        try:
            yield end
        finally:
            self._ends.discard(end)

    def require_room(self) -> None:
        """Raise `HttpProblem` if no stream can be opened now."""
        if self._is_over:
            raise HttpProblem(503, "The server stops.", {"retry-after": RETRY_SECONDS})
        if len(self._ends) >= self._most:
            raise HttpProblem(
                503, f"The server has {self._most} open streams and waiting calls.", {"retry-after": RETRY_SECONDS}
            )

    def end_all(self) -> None:
        """End all streams, and refuse new ones; call it in their event loop."""
        self._is_over = True
        for end in self._ends:
            if not end.done():
                end.set_result(None)


async def wait_for(work: Coroutine[Any, Any, T], request: Request[Any, Any, Any], streams: OpenStreams) -> T:
    """Return the result of a coroutine; cancel it if the client goes away or the server is stopping.

    A claim that is cancelled is released, so that no task is held for a client that has disconnected.

    Raises:
        HttpProblem: the server is stopping.

    """
    await request.body()  # after the request, a client only sends its disconnection
    try:
        with streams.open() as end:
            task = asyncio.ensure_future(work)
            gone = asyncio.ensure_future(_until_gone(request))
            waited: set[asyncio.Future[Any]] = {task, gone, end}
            try:
                await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
                if task.done():
                    return task.result()
                reason = "The server stops." if end.done() else "The client has gone."
                raise HttpProblem(503, reason, {"retry-after": RETRY_SECONDS})
            finally:
                gone.cancel()
                task.cancel()
                await asyncio.wait(waited - {end})
    finally:
        work.close()


async def _until_gone(request: Request[Any, Any, Any]) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
