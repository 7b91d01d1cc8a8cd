"""Server-Sent Events: all that is written, once, from where a client left off; clients that do not read cost little."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from polling import until
from swarm_persistence import EventModel, MemoryStorage, MessageModel, SqliteStorage, Storage, TaskModel
from swarm_persistence.web import SwarmApp, event_streams, swarm_app
from swarm_persistence.web.server import serving


class RunningServer:
    """A real server in this process, with a real socket."""

    def __init__(self, app: SwarmApp, listener: socket.socket) -> None:
        self.app = app
        self.address: tuple[str, int] = listener.getsockname()
        self.url = f"http://127.0.0.1:{self.address[1]}"


@asynccontextmanager
async def running(storage: Storage, **settings: Any) -> AsyncIterator[RunningServer]:
    app = swarm_app(storage, **settings)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        async with serving(app, listener):
            yield RunningServer(app, listener)


@asynccontextmanager
async def followed(url: str, last_event_id: str | None = None) -> AsyncIterator[AsyncIterator[tuple[str, Any]]]:
    """Yield the events of a stream: their ids and data."""

    async def events(answer: httpx.Response) -> AsyncIterator[tuple[str, Any]]:
        id = ""
        async for line in answer.aiter_lines():
            if line.startswith("id: "):
                id = line[4:]
            elif line.startswith("data: "):
                yield id, json.loads(line[6:])

    headers = {} if last_event_id is None else {"Last-Event-ID": last_event_id}
    async with (
        httpx.AsyncClient(timeout=30) as client,
        client.stream("GET", url, headers=headers) as answer,
    ):
        assert answer.raise_for_status().headers["content-type"].startswith("text/event-stream")
        yield events(answer)


async def taken(events: AsyncIterator[tuple[str, Any]], count: int) -> list[tuple[str, Any]]:
    async with asyncio.timeout(30):
        return [await anext(events) for _ in range(count)]


@pytest.fixture
async def storage(tmp_path: Path) -> AsyncIterator[Storage]:
    async with await SqliteStorage.open(tmp_path / "swarm.db") as storage:
        yield storage


async def test_events_are_sent_from_where_a_client_left_off(storage: Storage) -> None:
    stored = [await storage.store_event(EventModel.new("a" if n % 2 else "b", n, agent_id="x")) for n in range(6)]
    async with running(storage) as run:
        url = f"{run.url}/api/v1/events/stream"
        async with followed(f"{url}?after=0") as events:
            first = await taken(events, 6)
            later = await storage.store_event(EventModel.new("c", None))
            assert (await taken(events, 1))[0][0] == str(later.sequence)
        async with followed(url, first[2][0]) as events:
            again = await taken(events, 4)
        async with followed(f"{url}?after=0&event_type=a&agent_id=x") as events:
            chosen = await taken(events, 3)
        of_group = await storage.store_event(EventModel.new("c", None, group="g"))
        async with followed(f"{url}?after=0&group=g") as events:
            assert (await taken(events, 1))[0][1]["id"] == of_group.id

    assert [data["id"] for _, data in first] == [each.id for each in stored]
    assert [data["id"] for _, data in again] == [*(each.id for each in stored[3:]), later.id]
    assert [data["data"] for _, data in chosen] == [1, 3, 5]


async def test_tasks_are_sent_whenever_they_change_also_while_a_client_was_away(storage: Storage) -> None:
    async with running(storage) as run:
        url = f"{run.url}/api/v1/tasks/stream"
        one = await storage.store_task(TaskModel.new("t", 1))
        async with followed(f"{url}?after=") as events:
            ((_, data),) = await taken(events, 1)
            assert (data["id"], data["status"]) == (one.id, "pending")
            await storage.cancel_task(one.id)
            ((id, data),) = await taken(events, 1)
            assert data["status"] == "cancelled"
        two = await storage.store_task(TaskModel.new("other", 2))
        async with followed(url, id) as events:
            assert (await taken(events, 1))[0][1]["id"] == two.id
        async with followed(f"{url}?after=&task_type=t&status=cancelled") as events:
            assert (await taken(events, 1))[0][1]["id"] == one.id
        of_group = await storage.store_task(TaskModel.new("t", 3, group="g"))
        async with followed(f"{url}?after=&group=g") as events:
            assert (await taken(events, 1))[0][1]["id"] == of_group.id


@pytest.mark.parametrize("path", ["events/stream?after=0", "tasks/stream?after=", "messages/stream?agent_id=b&after=0"])
async def test_an_empty_last_event_id_is_none(storage: Storage, path: str) -> None:
    await storage.store_many([EventModel.new("t", 1), TaskModel.new("t", 1), MessageModel.new("a", "b", "text", 1)])
    async with running(storage) as run, followed(f"{run.url}/api/v1/{path}", "") as records:
        assert len(await taken(records, 1)) == 1


async def test_messages_are_sent_to_their_reader(storage: Storage) -> None:
    async with running(storage) as run, followed(f"{run.url}/api/v1/messages/stream?agent_id=b&after=0") as events:
        await storage.store_message(MessageModel.new("a", "c", "text", "no"))
        await storage.store_message(MessageModel.new("a", "b", "text", "yes"))
        assert [data["content"] for _, data in await taken(events, 1)] == ["yes"]


async def test_a_silent_stream_is_kept_alive(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_streams, "KEEP_ALIVE_SECONDS", 0.01)
    async with (
        running(storage) as run,
        httpx.AsyncClient(timeout=30) as client,
        client.stream("GET", f"{run.url}/api/v1/events/stream") as answer,
    ):
        async for line in answer.aiter_lines():
            if line == ": keep-alive":
                return


async def test_a_client_that_does_not_read_delays_no_other_and_costs_a_bounded_buffer() -> None:
    most = 0

    class Counted(event_streams._WaitingFrames):
        async def add(self, frame: bytes) -> None:
            nonlocal most
            await super().add(frame)
            most = max(most, self._bytes)

    async with MemoryStorage() as storage:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(event_streams, "_WaitingFrames", Counted)
            async with running(storage) as run:
                _, slow = await asyncio.open_connection(*run.address, limit=1024)
                slow.write(b"GET /api/v1/events/stream?after=0 HTTP/1.1\r\nHost: localhost\r\n\r\n")
                async with followed(f"{run.url}/api/v1/events/stream?after=0") as events:
                    # 30 MB, far more than the buffers of both sockets hold.
                    for number in range(300):
                        await storage.store_event(EventModel.new("large", "x" * 100_000))
                        ((_, data),) = await taken(events, 1)
                        assert data["sequence"] == number + 1
                await until(lambda: len(run.app._streams) == 1)  # the slow one is still served
                slow.transport.abort()
    assert most <= event_streams._MOST_BYTES + 110_000


async def test_a_stream_ends_with_its_client(storage: Storage) -> None:
    async with running(storage) as run:
        async with followed(f"{run.url}/api/v1/events/stream?after=0") as events:
            await storage.store_event(EventModel.new("a", None))
            await taken(events, 1)
            assert len(run.app._streams) == 1
        await until(lambda: len(run.app._streams) == 0)


async def test_a_claim_that_waits_for_a_client_that_has_gone_takes_no_task(storage: Storage) -> None:
    async with running(storage) as run:
        _, writer = await asyncio.open_connection(*run.address)
        body = b'{"agent_id": "gone", "wait": 60}'
        writer.write(
            b"POST /api/v1/tasks/claim HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
        )
        await until(lambda: len(run.app._streams) == 1)
        writer.close()
        await until(lambda: len(run.app._streams) == 0)
        task = await storage.store_task(TaskModel.new("t", None))
        claimed = await storage.claim_next_task("other")
    assert claimed is not None
    assert claimed.id == task.id


async def test_the_number_of_streams_is_limited(storage: Storage) -> None:
    async with (
        running(storage, most_streams=1) as run,
        httpx.AsyncClient() as client,
        followed(f"{run.url}/api/v1/events/stream?after=0") as events,
    ):
        await storage.store_event(EventModel.new("a", None))
        await taken(events, 1)
        refused = await client.get(f"{run.url}/api/v1/events/stream")
        waiting = await client.post(f"{run.url}/api/v1/tasks/claim", json={"agent_id": "a", "wait": 1})
    assert [refused.status_code, waiting.status_code] == [503, 503]
    assert refused.headers["retry-after"] == "1"


async def test_a_failing_storage_is_told_as_an_event(storage: Storage) -> None:
    async with running(storage) as run, httpx.AsyncClient(timeout=30) as client:
        async with client.stream("GET", f"{run.url}/api/v1/events/stream") as answer:
            lines = answer.aiter_lines()
            assert await anext(lines) == "retry: 1000"
            await storage.close()
            async with asyncio.timeout(30):
                rest = [line async for line in lines]
        assert "event: problem" in rest
        assert "Storage closed" in rest[-2]


async def test_the_page_of_limits_is_told_of_each_change(storage: Storage) -> None:
    async with running(storage) as run, httpx.AsyncClient(base_url=run.url, timeout=30) as client:
        page = await client.get("/limits", headers={"accept": "text/html"})
        assert 'data-of="tasks limits"' in page.text
        async with client.stream("GET", "/live?of=limits") as answer:
            lines = answer.aiter_lines()
            for change in (storage.set_limit("t", running=1), storage.delete_limit("t")):
                await change
                async for line in lines:
                    if line == "event: change":
                        break
                else:
                    raise AssertionError("the stream has ended")
