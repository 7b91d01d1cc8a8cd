"""A server of a swarm on PostgreSQL ends at once with its open streams, and leaves no connection behind."""

import asyncio
from pathlib import Path

import asyncpg
import httpx

from polling import until
from swarm_persistence import PostgresStorage
from web.servers import ServerProcess

_STREAMS = (("events", ""), ("tasks", "&after="), ("messages", "&agent_id=a"))
_IS_CONNECTED = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE application_name LIKE '%served%')"


async def test_it_ends_with_50_open_streams_and_its_storage_is_closed(
    url: str, storage: PostgresStorage, admin: asyncpg.Connection, tmp_path: Path
) -> None:
    process = ServerProcess([f"{url}&application_name=served"], tmp_path)
    async with asyncio.timeout(120), httpx.AsyncClient(base_url=process.url, timeout=60) as client:
        answers = [
            await client.send(client.build_request("GET", f"/api/v1/{noun}/stream?after=0{rest}"), stream=True)
            for noun, rest in _STREAMS
            for _ in range(17)
        ]
        lines = [answer.aiter_lines() for answer in answers]
        assert {await anext(each) for each in lines} == {"retry: 1000"}
        claim = asyncio.create_task(client.post("/api/v1/tasks/claim", json={"agent_id": "a", "wait": 60}))
        assert (await client.post("/api/v1/events", json={"event_type": "last"})).status_code == 201

        assert await admin.fetchval(_IS_CONNECTED)
        ended = await asyncio.get_running_loop().run_in_executor(None, process.end)

        assert (await claim).status_code == 503
        for answer in answers:
            await answer.aclose()
    assert ended == (0, "")
    assert [event.event_type for event in await storage.read_events()] == ["last"]
    await until(lambda: admin.fetchval(f"SELECT NOT ({_IS_CONNECTED})"))
