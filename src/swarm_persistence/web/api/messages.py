"""Messages over HTTP: list, show, send, mark as read, acknowledge, watch."""

from typing import Annotated, Any

from litestar import Response, Router, get, post
from litestar.params import FromQuery, JSONBody, QueryParameter
from litestar.response import Stream
from msgspec import Struct

from swarm_persistence import MessageModel
from swarm_persistence.web.answers import answer, record_answer
from swarm_persistence.web.api.parameters import LastEventId, Sequence, position_in_log
from swarm_persistence.web.api.records import common_handlers, existing
from swarm_persistence.web.dependencies import InjectedStorage, InjectedStreams, RecordId
from swarm_persistence.web.event_streams import event_stream


class Acknowledgement(Struct, kw_only=True, forbid_unknown_fields=True):
    """What came of a message."""

    result: Any = None


@get("/between")
async def conversation(
    storage: InjectedStorage,
    agent: Annotated[list[str], QueryParameter(min_items=2, max_items=2, description="The two agents.")],
    limit: Annotated[int, QueryParameter(ge=1, le=1000)] = 50,
) -> Response[list[MessageModel]]:
    """Return the messages between two agents, in either direction, newest first."""
    return answer(await storage.get_messages_between(agent[0], agent[1], limit))


@post("/{id:str}/read", status_code=200)
async def mark_as_read(record_id: RecordId, storage: InjectedStorage) -> Response[MessageModel]:
    """Mark a message as read; the time of the first time stays."""
    await storage.mark_message_read(record_id)
    return record_answer(await existing(storage, MessageModel, record_id))


@post("/{id:str}/acknowledge", status_code=200)
async def acknowledge(
    data: JSONBody[Acknowledgement], record_id: RecordId, storage: InjectedStorage
) -> Response[MessageModel]:
    """Acknowledge a message, with a result; a first acknowledgement stays."""
    await storage.acknowledge_message(record_id, data.result)
    return record_answer(await existing(storage, MessageModel, record_id))


@get("/stream", media_type="text/event-stream")
async def stream_messages(
    storage: InjectedStorage,
    streams: InjectedStreams,
    agent_id: FromQuery[str],
    after: Sequence = "now",
    last_event_id: LastEventId = None,
) -> Stream:
    """Send each message to an agent, in the order of arrival, as Server-Sent Events; none is marked as read.

    A client that connects again resumes where it was, by the `Last-Event-ID` that browsers send.
    """
    position = position_in_log(last_event_id or after)
    return event_stream(storage.watch_messages(agent_id, position), lambda message: message.sequence, streams)


ROUTER = Router(
    "/messages",
    route_handlers=[
        *common_handlers(MessageModel),
        conversation,
        stream_messages,
        mark_as_read,
        acknowledge,
    ],
    tags=["messages"],
)
