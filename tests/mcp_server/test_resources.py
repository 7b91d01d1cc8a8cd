"""Facts about the resources, and about how clients are told of their changes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import pytest
from mcp import MCPError, types

from mcp_server.connections import call, connected, read
from polling import until
from swarm_persistence import DocumentModel, EventModel, MessageModel, SqliteStorage, TaskModel


async def test_each_noun_can_be_read_by_its_uri(tmp_path: Path) -> None:
    async with connected(tmp_path / "swarm.db") as client:
        uris = {str(each.uri) for each in (await client.list_resources()).resources}
        templates = {each.uri_template for each in (await client.list_resource_templates()).resource_templates}
        await call(client, "register_agent", name="coder", agent_type="coder", agent_id="a/1 ü")
        await call(client, "send_message", from_agent="b", to_agent="a/1 ü", content="hi")
        await call(client, "remember", key="k/1", value="v", collection=["memories", "a"])
        agent = await read(client, "swarm://agents/a%2F1%20%C3%BC")
        inbox = await read(client, "swarm://agents/a%2F1%20%C3%BC/messages")
        again = await read(client, "swarm://agents/a%2F1%20%C3%BC/messages")
        memory = await read(client, "swarm://documents/memories/a/k%2F1")
        lists = {uri: await read(client, uri) for uri in sorted(uris)}

    assert uris == {"swarm://status", "swarm://tasks", "swarm://agents", "swarm://events"}
    assert templates == {
        "swarm://tasks/{task_id}",
        "swarm://agents/{agent_id}",
        "swarm://agents/{agent_id}/messages",
        "swarm://documents/{+collection}/{key}",
    }
    assert (agent["id"], agent["name"]) == ("a/1 ü", "coder")
    assert [message["content"] for message in inbox["messages"]] == ["hi"]
    assert again == inbox
    assert (memory["key"], memory["value"]) == ("k/1", "v")
    assert [each["agent_id"] for each in lists["swarm://agents"]["agents"]] == ["a/1 ü"]
    assert lists["swarm://tasks"] == {"tasks": []}


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("swarm://tasks/unknown", "Not found: task 'unknown'"),
        ("swarm://nothing", "Not found: resource 'swarm://nothing', expected one of swarm://status, "),
        ("file:///etc/passwd", "Not found: resource 'file:///etc/passwd', expected one of "),
        ("swarm://documents/memories", "Not found: resource "),
    ],
)
async def test_what_does_not_exist_is_told_by_name(tmp_path: Path, uri: str, message: str) -> None:
    async with connected(tmp_path / "swarm.db") as client:
        with pytest.raises(MCPError) as raised:
            await client.read_resource(uri)

    assert raised.value.error.code == types.INVALID_PARAMS
    assert raised.value.error.message.startswith(message)


@pytest.mark.filterwarnings("ignore:resources/:mcp.MCPDeprecationWarning")  # it is the way of earlier protocols
@pytest.mark.parametrize("protocol", ["auto", "legacy"])
async def test_a_client_is_told_of_changes_that_other_processes_make(
    tmp_path: Path, protocol: Literal["auto", "legacy"]
) -> None:
    async with await SqliteStorage.open(tmp_path / "swarm.db") as storage:
        task = await storage.store_task(TaskModel.new("t", None))
        other = await storage.store_task(TaskModel.new("t", None))
        uris = [
            f"swarm://tasks/{task.id}",
            f"swarm://tasks/{other.id}",
            "swarm://tasks",
            "swarm://events",
            "swarm://agents/a/messages",
            "swarm://documents/memories/k",
            "swarm://tasks/not-yet",
        ]
        async with following(tmp_path / "swarm.db", protocol, uris) as told:
            await storage.claim_task(task.id, "a")
            await until_told(told, uris[0])
            await storage.store_event(EventModel.new("e", None))
            await until_told(told, "swarm://events")
            await storage.store_message(MessageModel.new("b", "a", "text", "hi"))
            await until_told(told, "swarm://agents/a/messages")
            await storage.put_documents([DocumentModel.new(("memories",), "k", 1)])
            await until_told(told, "swarm://documents/memories/k")
            await storage.store_task(TaskModel(id="not-yet", task_type="t"))
            await until_told(told, "swarm://tasks/not-yet")

    assert {*told} == {*uris} - {f"swarm://tasks/{other.id}"}


@pytest.mark.filterwarnings("ignore:resources/:mcp.MCPDeprecationWarning")  # it is the way of earlier protocols
async def test_a_client_that_has_unsubscribed_is_told_nothing(tmp_path: Path) -> None:
    told: list[str] = []

    async def note(message: Any) -> None:
        if isinstance(message, types.ResourceUpdatedNotification):
            told.append(str(message.params.uri))

    async with (
        await SqliteStorage.open(tmp_path / "swarm.db") as storage,
        connected(tmp_path / "swarm.db", "legacy", note) as client,
    ):
        for uri in ("swarm://tasks", "swarm://events"):
            await client.subscribe_resource(uri)
        await client.unsubscribe_resource("swarm://tasks")
        await storage.store_task(TaskModel.new("t", None))
        await storage.store_event(EventModel.new("e", None))
        await until_told(told, "swarm://events")

    assert told == ["swarm://events"]


@pytest.mark.filterwarnings("ignore:resources/:mcp.MCPDeprecationWarning")  # it is the way of earlier protocols
async def test_only_what_exists_can_be_followed(tmp_path: Path) -> None:
    async with connected(tmp_path / "swarm.db", "legacy") as client:
        with pytest.raises(MCPError, match="expected one of swarm://status"):
            await client.subscribe_resource("swarm://nothing")


@asynccontextmanager
async def following(database: Path, protocol: Literal["auto", "legacy"], uris: list[str]) -> AsyncIterator[list[str]]:
    """Connect, follow these resources, and yield the list of those that the client is told of."""
    told: list[str] = []

    async def note(message: Any) -> None:
        if isinstance(message, types.ResourceUpdatedNotification):
            told.append(str(message.params.uri))

    async with connected(database, protocol, note) as client:
        if protocol == "legacy":
            for uri in uris:
                await client.subscribe_resource(uri)
            yield told
        else:
            async with client.listen(resource_subscriptions=uris) as events:
                listening = asyncio.create_task(note_all(events, told))
                yield told
                listening.cancel()
                await asyncio.gather(listening, return_exceptions=True)


async def note_all(events: Any, told: list[str]) -> None:
    """Note the resource of each event."""
    async for event in events:
        told.append(event.uri)  # noqa: PERF401 - each is noted at once, and the stream does not end


async def until_told(told: list[str], uri: str) -> None:
    """Wait until the client was told of a resource."""
    await until(lambda: uri in told)
