"""Server-Sent Events of records: bounded for a slow client, kept alive for a silent one, ended with the server."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import TypeVar

from litestar.response import Stream

from swarm_persistence import Model, StorageError
from swarm_persistence.plain_json import encode_json
from swarm_persistence.web.open_streams import OpenStreams
from swarm_persistence.web.problems import problem_of

M = TypeVar("M", bound=Model)

KEEP_ALIVE_SECONDS = 15.0
MEDIA_TYPE = "text/event-stream"
_MOST_FRAMES = 100
_MOST_BYTES = 256 * 1024
"""The limit of bytes that wait for one client, exceeded by one record at most. The storage's watch then waits for the
client, and keeps later changes as positions in the log, not as records."""
_BEGIN = b"retry: 1000\n\n"
_KEEP_ALIVE = b": keep-alive\n\n"


def event_stream(records: AsyncGenerator[M, None], cursor_of: Callable[[M], object], streams: OpenStreams) -> Stream:
    """Return the answer that sends each record as an event; a client resumes after its cursor, by `Last-Event-ID`.

    Raises:
        HttpProblem: there are too many streams, or the server is stopping.

    """
    streams.require_room()
    headers = {"cache-control": "no-cache", "x-accel-buffering": "no"}
    return Stream(_frames(records, cursor_of, streams), media_type=MEDIA_TYPE, headers=headers)


async def _frames(
    records: AsyncGenerator[M, None], cursor_of: Callable[[M], object], streams: OpenStreams
) -> AsyncGenerator[bytes, None]:
    with streams.open() as end:
        frames = _WaitingFrames()
        reading = asyncio.create_task(_read(records, cursor_of, frames))
        try:
            yield _BEGIN
            while not end.done():
                if waiting := frames.take():
                    yield waiting
                    continue
                if reading.done():
                    break
                added = frames.next_added()
                done, _ = await asyncio.wait(
                    {end, reading, added}, timeout=KEEP_ALIVE_SECONDS, return_when=asyncio.FIRST_COMPLETED
                )
                if not done:
                    yield _KEEP_ALIVE
        finally:
            reading.cancel()
            await asyncio.wait({reading})


async def _read(records: AsyncGenerator[M, None], cursor_of: Callable[[M], object], frames: "_WaitingFrames") -> None:
    try:
        async with aclosing(records):
            async for record in records:
                await frames.add(frame(encode_json(record), cursor_of(record)))
    except StorageError as error:
        _, body = problem_of(error)
        await frames.add(b"event: problem\ndata: " + body + b"\n\n")


def frame(data: bytes, id: object) -> bytes:
    """Return an event of a stream; JSON has no line breaks of its own."""
    return b"id: " + str(id).encode() + b"\ndata: " + data + b"\n\n"


class _WaitingFrames:
    """The events that a client has not taken yet."""

    def __init__(self) -> None:
        self._frames: list[bytes] = []
        self._bytes = 0
        self._added: asyncio.Future[None] | None = None
        self._taken: asyncio.Future[None] | None = None

    async def add(self, frame: bytes) -> None:
        """Add an event once there is room for it."""
        while self._frames and (len(self._frames) >= _MOST_FRAMES or self._bytes >= _MOST_BYTES):
            self._taken = asyncio.get_running_loop().create_future()
            await self._taken
        self._frames.append(frame)
        self._bytes += len(frame)
        if self._added is not None and not self._added.done():
            self._added.set_result(None)

    def take(self) -> bytes:
        """Return all waiting chunks, joined."""
        taken = b"".join(self._frames)
        self._frames.clear()
        self._bytes = 0
        if self._taken is not None and not self._taken.done():
            self._taken.set_result(None)
        return taken

    def next_added(self) -> "asyncio.Future[None]":
        """Return a future that is done once there is an event to take."""
        if self._added is None or self._added.done():
            self._added = asyncio.get_running_loop().create_future()
        return self._added
