"""MCP over streamable HTTP, driven by the official client: the same tools as over stdio, on the same storage."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from mcp_server.connections import call, read
from swarm_persistence import MemoryStorage, TaskModel
from web.servers import TOKEN, server
from web.test_streams import running


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_clients_share_the_swarm_with_programs(mode: str) -> None:
    async with MemoryStorage() as storage, running(storage) as run:
        url = f"{run.url}/mcp"
        async with Client(url, mode=mode) as first, Client(url, mode=mode) as second:
            for number in range(3):
                await call(first, "enqueue_task", task_type="t", payload=number)
            claims = await asyncio.gather(
                *(call(client, "claim_next_task", agent_id=name) for client, name in ((first, "a"), (second, "b")))
            )
            own = await storage.claim_next_task("python")
            assert own is not None
            assert len({own.id, *(each["task"]["id"] for each in claims)}) == 3
            assert await call(second, "claim_next_task", agent_id="b") == {
                "task": None,
                "hint": "no task is ready; wait_seconds waits for one, list_tasks shows what there is",
            }
            await call(first, "complete_task", task_id=claims[0]["task"]["id"], agent_id="a", claim=claims[0]["claim"])
            assert (await read(second, f"swarm://tasks/{claims[0]['task']['id']}"))["status"] == "completed"


async def test_a_server_that_is_read_only_offers_no_tool_that_changes_anything() -> None:
    async with MemoryStorage() as storage, running(storage, read_only=True) as run:
        await storage.store_task(TaskModel.new("t", None))
        async with Client(f"{run.url}/mcp") as client:
            tools = (await client.list_tools()).tools
            assert {tool.name for tool in tools} == {
                "swarm_status",
                "list_tasks",
                "list_blocked_tasks",
                "wait_for_task",
                "list_schedules",
                "list_limits",
                "read_events",
                "recall",
            }
            assert len((await call(client, "list_tasks"))["tasks"]) == 1
            refused = await client.call_tool("enqueue_task", {"task_type": "t"})
            assert refused.is_error
        assert await storage.repository(TaskModel).count() == 1


async def test_it_asks_for_the_token() -> None:
    async with MemoryStorage() as storage, running(storage, token=TOKEN) as run:
        url = f"{run.url}/mcp"
        async with httpx.AsyncClient() as stranger:
            assert (await stranger.post(url, json={})).status_code == 401
        async with (
            httpx2.AsyncClient(headers={"Authorization": f"Bearer {TOKEN}"}) as http,
            Client(streamable_http_client(url, http_client=http)) as client,
        ):
            assert (await call(client, "swarm_status"))["events"] == 0


@asynccontextmanager
async def session(url: str) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client of a session, without the official client's own reconnections."""
    headers = {"Accept": "application/json, text/event-stream", "MCP-Protocol-Version": "2025-11-25"}
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=30) as client:
        client_info = {"name": "test", "version": "1"}
        params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client_info}
        begun = await client.post("/mcp", json={"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params})
        client.headers["Mcp-Session-Id"] = begun.headers["mcp-session-id"]
        await client.post("/mcp", json={"jsonrpc": "2.0", "method": "notifications/initialized"})
        yield client


def claim_of(agent_id: str) -> dict[str, Any]:
    arguments = {"agent_id": agent_id, "wait_seconds": 20}
    params = {"name": "claim_next_task", "arguments": arguments}
    return {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": params}


async def id_of_begun_stream(answer: httpx.Response) -> str:
    async for line in answer.aiter_lines():
        if line.startswith("id: "):
            return line.removeprefix("id: ")
    raise AssertionError("the stream ended without an id")


async def test_a_broken_stream_resumes_with_its_own_answer() -> None:
    """The ids of requests, which name the streams, are equal in all sessions."""
    async with (
        MemoryStorage() as storage,
        running(storage) as run,
        session(run.url) as broken,
        session(run.url) as other,
    ):
        async with broken.stream("POST", "/mcp", json=claim_of("a")) as answer:
            last = await id_of_begun_stream(answer)
        await storage.store_task(TaskModel.new("t", "of a"))
        resumed = {"Last-Event-ID": last}
        async with broken.stream("GET", "/mcp", headers=resumed) as answer:
            text = await first_answer(answer)
        assert '\\"assigned_to\\":\\"a\\"' in text
        await storage.store_task(TaskModel.new("t", "of b"))
        async with other.stream("POST", "/mcp", json=claim_of("b")) as answer:
            assert '\\"assigned_to\\":\\"b\\"' in await first_answer(answer)

        async with other.stream("GET", "/mcp", headers=resumed) as answer:
            with pytest.raises(AssertionError, match="without an answer"):
                await first_answer(answer)


async def first_answer(answer: httpx.Response) -> str:
    async for line in answer.aiter_lines():
        if line.startswith("data: {"):
            return line
    raise AssertionError(f"the stream ended without an answer: {answer.status_code}")


def test_a_server_without_the_package_of_mcp_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mcp.py").write_text("raise ModuleNotFoundError(name='mcp')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    with server(tmp_path, "swarm.db") as served:
        answer = httpx.post(f"{served.url}/mcp", json={}, timeout=30)

    assert answer.status_code == 501
    assert answer.json()["detail"] == 'this needs mcp 2.3 or newer: pip install "swarm-persistence[mcp]"'
