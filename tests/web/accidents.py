"""What a server's clients go through when it is killed: on any database that a server can be started on."""

import asyncio
import itertools
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from pathlib import Path

import httpx

from web.servers import ServerProcess, server


async def events_of(url: str, after: str = "0") -> AsyncGenerator[tuple[str, int], None]:
    """Yield the id and the number of each event of a stream, until it breaks."""
    headers = {"Last-Event-ID": after}
    id = ""
    with suppress(httpx.TransportError):
        async with (
            httpx.AsyncClient(base_url=url, timeout=60) as client,
            client.stream("GET", "/api/v1/events/stream", headers=headers) as answer,
        ):
            async for line in answer.aiter_lines():
                name, _, value = line.partition(": ")
                if name == "id":
                    id = value
                elif name == "data":
                    yield id, json.loads(value)["data"]


async def resume_through_kills(target: str, directory: Path, kills: int = 2) -> tuple[list[int], list[int]]:
    """Store events while servers are killed in the midst of it; return those answered, and those that a stream gave.

    The stream resumes behind its last event, and ends once it has given all that was answered.
    """
    stored: list[int] = []
    seen: list[int] = []
    numbers = itertools.count()
    last = "0"

    async def store(url: str) -> None:
        async with httpx.AsyncClient(base_url=url) as client:
            with suppress(httpx.TransportError):
                for number in numbers:
                    event = {"event_type": "e", "data": number}
                    assert (await client.post("/api/v1/events", json=event)).status_code == 201
                    stored.append(number)

    for _ in range(kills):
        started = ServerProcess([target], directory)
        try:
            async with asyncio.timeout(60):
                storing = [asyncio.create_task(store(started.url)) for _ in range(4)]
                enough = len(seen) + 20
                async for id, number in events_of(started.url, last):
                    last = id
                    seen.append(number)
                    if len(seen) == enough:
                        started.process.kill()  # in the midst of writes; the stream breaks
                await asyncio.gather(*storing)
        finally:
            started.process.kill()
            started.process.communicate()
    with server(directory, target) as again:
        async with asyncio.timeout(60), aclosing(events_of(again.url, last)) as events:
            while not set(stored) <= set(seen):
                last, number = await anext(events)
                seen.append(number)
    return stored, seen
