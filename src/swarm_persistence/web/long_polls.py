"""Waits for an answer until the client disconnects or the server is stopping."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from litestar import Request

from swarm_persistence.web.open_streams import OpenStreams
from swarm_persistence.web.problems import RETRY_SECONDS, HttpProblem

T = TypeVar("T")


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
