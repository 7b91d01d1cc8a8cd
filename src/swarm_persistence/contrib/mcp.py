"""The event store of MCP's Streamable HTTP over documents; needs `pip install "swarm-persistence[mcp]"`.

The events of a stream are documents of the collection `("mcp", stream)`, in the order of their arrival. An event's id
is its document's key and the stream's id, so that a client's `Last-Event-ID` leads to both.
"""

from datetime import timedelta
from urllib.parse import quote, unquote
from uuid import uuid4

from swarm_persistence import DocumentModel, Storage, now, timedelta_of
from swarm_persistence.contrib.json_values import content_of, value_of

try:
    from mcp.server.streamable_http import EventCallback, EventId, EventMessage, EventStore, StreamId
    from mcp.types import JSONRPCMessage, jsonrpc_message_adapter
except ImportError as error:
    raise ImportError('SwarmEventStore needs mcp 2.3 or newer: pip install "swarm-persistence[mcp]"') from error

ROOT = "mcp"
_BATCH = 100
"""Events that a replay reads at once."""


class SwarmEventStore(EventStore):
    """Keeps what a server has sent, for clients that reconnect: `server.streamable_http_app(event_store=…)`.

    A client may reconnect to another process of the server. Events are kept for `keep_for`, seconds or a timedelta;
    after that, they are not replayed, and `storage.prune(…)` deletes them. The SDK names a stream by the id of
    its request, which each client counts from 1: with `session`, a text of its own, no session reads another one's.
    """

    def __init__(
        self, storage: Storage, *, keep_for: float | timedelta = timedelta(hours=1), session: str | None = None
    ) -> None:
        self._storage = storage
        self._root = (ROOT,) if session is None else (ROOT, session)
        self._keep_for = timedelta_of(keep_for, "keep_for")

    async def store_event(self, stream_id: StreamId, message: JSONRPCMessage | None) -> EventId:
        """Store an event of a stream and return its id; without a message, it only marks a place to resume from."""
        content = None if message is None else message.model_dump(mode="json", by_alias=True, exclude_unset=True)
        key = uuid4().hex
        document = DocumentModel.new(
            (*self._root, stream_id), key, **content_of(content), expires_at=now() + self._keep_for
        )
        await self._storage.put_documents([document])
        return f"{key}.{quote(stream_id, safe='')}"

    async def replay_events_after(self, last_event_id: EventId, send_callback: EventCallback) -> StreamId | None:
        """Send the later events of the stream of an event; return the stream, or `None` if the event is unknown."""
        key, separator, quoted = last_event_id.partition(".")
        stream_id = unquote(quoted)
        if not separator or not quoted.isascii() or "\0" in stream_id:
            return None  # not one of our ids
        collection = (*self._root, stream_id)
        keys = await self._storage.list_document_keys(collection, by_arrival=True)
        if key not in keys:
            return None
        later = keys[keys.index(key) + 1 :]
        for start in range(0, len(later), _BATCH):
            for document in await self._storage.get_documents(collection, later[start : start + _BATCH]):
                if (content := value_of(document)) is not None:
                    message = jsonrpc_message_adapter.validate_python(content, by_name=False)
                    await send_callback(EventMessage(message, f"{document.key}.{quoted}"))
        return stream_id

    async def delete_stream(self, stream_id: StreamId) -> int:
        """Delete the events of a stream, and return how many."""
        return await self._storage.delete_documents((*self._root, stream_id))
