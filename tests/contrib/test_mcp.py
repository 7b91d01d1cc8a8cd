"""Facts about the events of MCP's streams in a storage, on each engine."""

from datetime import timedelta

import pytest
from mcp.server.streamable_http import EventMessage
from mcp.types import JSONRPCMessage, JSONRPCNotification

from swarm_persistence import InvalidQueryError, MemoryStorage, Storage
from swarm_persistence.contrib.mcp import SwarmEventStore
from swarm_persistence.testing import ManualClock


def tick(number: int) -> JSONRPCMessage:
    """Return a message."""
    return JSONRPCNotification(jsonrpc="2.0", method="notifications/message", params={"data": number})


async def replayed(store: SwarmEventStore, last: str) -> tuple[str | None, list[EventMessage]]:
    """Return what a client gets that reconnects."""
    sent: list[EventMessage] = []

    async def send(event: EventMessage) -> None:
        sent.append(event)

    return await store.replay_events_after(last, send), sent


async def test_a_replay_sends_the_later_messages_of_the_one_stream(storage: Storage) -> None:
    store = SwarmEventStore(storage)
    stream = "a stream/with% any.id é"
    ids = [await store.store_event(stream, None if n % 10 == 0 else tick(n)) for n in range(250)]
    await store.store_event("other", tick(0))

    found, sent = await replayed(SwarmEventStore(storage), ids[3])

    assert found == stream
    assert sent == [EventMessage(tick(n), ids[n]) for n in range(4, 250) if n % 10]
    assert all(id.isascii() and id.isprintable() for id in ids), "an id travels in a header"


async def test_no_store_of_a_session_replays_the_events_of_another(storage: Storage) -> None:
    stores = [SwarmEventStore(storage, session=session) for session in ("one", "other", None)]
    ids = [[await store.store_event("1", tick(number)) for number in range(2)] for store in stores]

    for store, own in zip(stores, ids, strict=True):
        assert [await replayed(store, first) for first, _ in ids if first != own[0]] == [(None, [])] * 2
        assert await replayed(store, own[0]) == ("1", [EventMessage(tick(1), own[1])])
    assert await storage.list_collections() == [("mcp", "1"), ("mcp", "one", "1"), ("mcp", "other", "1")]


@pytest.mark.parametrize("unknown", ["", "1", ".", "x.other", "x.%00", "x.%ff", "x.é", "x.\ud83d", "\0.other"])
async def test_an_unknown_event_replays_nothing(storage: Storage, unknown: str) -> None:
    store = SwarmEventStore(storage)
    await store.store_event("other", tick(0))

    assert await replayed(store, unknown) == (None, [])


async def test_old_events_are_replayed_no_more_and_pruned(clock: ManualClock) -> None:
    async with MemoryStorage() as storage:
        store = SwarmEventStore(storage, keep_for=timedelta(minutes=1))
        old = await store.store_event("stream", tick(1))
        clock.advance(61)
        new = await store.store_event("stream", tick(2))

        assert await replayed(store, old) == (None, [])
        assert await replayed(store, new) == ("stream", [])
        assert (await storage.prune(3600)).documents == 1
        assert await store.delete_stream("stream") == 1


async def test_a_time_that_is_none_is_refused() -> None:
    async with MemoryStorage() as storage:
        with pytest.raises(InvalidQueryError, match="keep_for is 0"):
            SwarmEventStore(storage, keep_for=0)
