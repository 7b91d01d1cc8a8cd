"""A plugin for pytest: the MCP SDK's own tests of resumption get our store where they ask for their double.

They run without the SDK's `conftest.py`, which needs a telemetry product that other frameworks' versions exclude.
"""

import anyio
import pytest
from mcp.server.streamable_http import EventCallback, EventId, EventMessage, StreamId
from mcp.types import JSONRPCMessage

from swarm_persistence import MemoryStorage
from swarm_persistence.contrib.mcp import SwarmEventStore


class SequencedEventStore(SwarmEventStore):
    """Our store, with the places of events as their ids, as the tests expect them, and a way to wait for them."""

    def __init__(self) -> None:
        super().__init__(MemoryStorage())
        self._events: list[tuple[StreamId, JSONRPCMessage | None]] = []
        self._ids: list[EventId] = []
        self._stored = anyio.Event()

    async def store_event(self, stream_id: StreamId, message: JSONRPCMessage | None) -> EventId:
        self._ids.append(await super().store_event(stream_id, message))
        self._events.append((stream_id, message))
        self._stored.set()
        self._stored = anyio.Event()
        return str(len(self._ids))

    async def wait_until_stored(self, count: int) -> None:
        """Wait until so many events are stored."""
        while len(self._events) < count:
            await self._stored.wait()

    async def replay_events_after(self, last_event_id: EventId, send_callback: EventCallback) -> StreamId | None:
        async def send(event: EventMessage) -> None:
            assert event.event_id is not None
            await send_callback(EventMessage(event.message, str(self._ids.index(event.event_id) + 1)))

        is_known = last_event_id.isdigit() and 0 < int(last_event_id) <= len(self._ids)
        ours = self._ids[int(last_event_id) - 1] if is_known else last_event_id
        return await super().replay_events_after(ours, send)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put our store where the tests look for theirs."""
    for module in {item.getparent(pytest.Module).obj for item in items}:  # type: ignore[union-attr]
        assert hasattr(module, "SequencedEventStore")
        module.SequencedEventStore = SequencedEventStore
