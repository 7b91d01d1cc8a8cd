"""Clients of a server, in a process of their own: streams, and requests at a steady rate."""

import asyncio
import itertools
import os
import sys
import time
from urllib.parse import urlsplit

import msgspec

STREAMS = 200
REQUESTS_A_SECOND = 1_000
CONNECTIONS = 50
NICENESS = 10
_LONGEST_START_SECONDS = 60
_STREAMED = ("/live?of=tasks", "/api/v1/events/stream")
_EVENT = b'{"event_type": "said", "data": {"text": "from outside"}}'


class Load(msgspec.Struct):
    """What the clients saw."""

    seconds: float = 0.0
    answered: int = 0
    failed: int = 0
    """Answers whose status is not 2xx."""
    frames: int = 0
    """Events that all streams received."""
    waits: list[float] = []
    """Seconds until each answer."""


async def main(url: str) -> None:
    """Send requests beside open streams until standard input ends; then print what was seen.

    Say so once an event was streamed and each connection has its first answer.
    """
    os.nice(NICENESS)
    address = urlsplit(url)
    host, port = str(address.hostname), int(address.port or 80)
    load = Load()
    opened = [await _open_stream(host, port, _STREAMED[n % len(_STREAMED)]) for n in range(STREAMS)]
    is_streamed = asyncio.Event()
    tasks = [asyncio.create_task(_follow(reader, load, is_streamed)) for reader, _ in opened]
    started = time.perf_counter()
    async with asyncio.timeout(_LONGEST_START_SECONDS):
        connections = await asyncio.gather(*(_connect(host, port, load) for _ in range(CONNECTIONS)))
        tasks += [asyncio.create_task(_ask(each, load, n)) for n, each in enumerate(connections)]
        await is_streamed.wait()
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    load.seconds = time.perf_counter() - started
    for task in tasks:
        task.cancel()
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(outcome, Exception):
            raise outcome
    print(msgspec.json.encode(load).decode(), flush=True)


async def _open_stream(host: str, port: int, path: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200 "):
        raise RuntimeError(head.decode())
    return reader, writer


async def _follow(reader: asyncio.StreamReader, load: Load, is_streamed: asyncio.Event) -> None:
    while data := await reader.read(65_536):
        load.frames += data.count(b"\ndata: ")
        if load.frames:
            is_streamed.set()
    raise RuntimeError("the server has ended a stream")


class _Connection(msgspec.Struct):
    """A connection to the server, and tasks that it may ask for."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    host: str
    ids: list[str]


async def _connect(host: str, port: int, load: Load) -> _Connection:
    reader, writer = await asyncio.open_connection(host, port)
    connection = _Connection(reader, writer, host, [])
    connection.ids = [task["id"] for task in msgspec.json.decode(await _answer(connection, load, _LIST))["items"]]
    return connection


async def _ask(connection: _Connection, load: Load, number: int) -> None:
    ids = connection.ids
    pause = CONNECTIONS / REQUESTS_A_SECOND
    due = time.perf_counter() + pause * number / CONNECTIONS
    for turn in itertools.count(number):
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        request = _request(turn, ids[turn % len(ids)])
        await _answer(connection, load, request)
        due = max(due + pause, time.perf_counter() - 1)  # what a stalled server missed within a second is made up for


_LIST = ("GET", "/api/v1/tasks?limit=20", b"")


def _request(turn: int, id: str) -> tuple[str, str, bytes]:
    """Return one of ten: eight tasks are read, a page of tasks is, an event is stored."""
    kind = turn % 10
    if kind == 0:
        return "POST", "/api/v1/events", _EVENT
    return _LIST if kind == 1 else ("GET", f"/api/v1/tasks/{id}", b"")


async def _answer(connection: _Connection, load: Load, request: tuple[str, str, bytes]) -> bytes:
    method, path, body = request
    reader = connection.reader
    started = time.perf_counter()
    head = f"{method} {path} HTTP/1.1\r\nHost: {connection.host}\r\nContent-Type: application/json\r\n"
    connection.writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    answer = await reader.readuntil(b"\r\n\r\n")
    length = int(answer.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
    content = await reader.readexactly(length)
    load.waits.append(time.perf_counter() - started)
    load.answered += 1
    load.failed += not answer.startswith(b"HTTP/1.1 2")
    return content


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
