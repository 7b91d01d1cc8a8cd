"""Events over HTTP: list, show, append, read the log, watch it."""

from typing import Annotated, Any, Literal

import msgspec
from litestar import Response, Router, get, post
from litestar.params import FromQuery, JSONBody, QueryParameter
from litestar.response import Stream
from msgspec import Struct

from swarm_persistence import EventModel
from swarm_persistence.web.answers import answer
from swarm_persistence.web.api.bodies import new_record_body
from swarm_persistence.web.api.parameters import LastEventId, Limit, Sequence, position_in_log
from swarm_persistence.web.api.records import common_handlers
from swarm_persistence.web.dependencies import Idempotent, InjectedStorage, InjectedStreams
from swarm_persistence.web.event_streams import event_stream

# A name of its own: the description knows the body of another handler by `NewEvent`.
_EVENTS: Any = list[new_record_body(EventModel, "AppendedEvent")]  # type: ignore[misc]
_Types = Annotated[list[str] | None, QueryParameter(description="Only events of this type; may be repeated.")]


Appended = msgspec.defstruct(
    "NewEvents",
    [("events", _EVENTS), ("expected_sequence", int | None, None)],
    kw_only=True,
    forbid_unknown_fields=True,
)


class LogEnd(Struct, frozen=True):
    """The end of the log."""

    sequence: int
    """The sequence of the last of the events, even if they were stored before."""


async def append_events(data: Any, storage: InjectedStorage, idempotent: Idempotent) -> Response[LogEnd]:
    """Append events, all or none; with `expected_sequence`, only if the log ends with that event: else 409."""

    async def append() -> Response[LogEnd]:
        events = [EventModel(**msgspec.structs.asdict(each)) for each in data.events]
        return answer(LogEnd(await storage.append_events(events, expected_sequence=data.expected_sequence)))

    return await idempotent.once(append)


_body: Any = JSONBody
append_events.__annotations__["data"] = _body[Appended]


@get("/log")
async def read_events(
    storage: InjectedStorage,
    after: Annotated[int, QueryParameter(ge=0, description="The sequence of the last event that was read.")] = 0,
    limit: Limit = 100,
    event_type: _Types = None,
) -> Response[list[EventModel]]:
    """Read the log in its order, after an event: none is missed or repeated, whatever is being stored meanwhile."""
    return answer(await storage.read_events(after, limit, types=event_type))


@get("/stream", media_type="text/event-stream")
async def stream_events(
    storage: InjectedStorage,
    streams: InjectedStreams,
    after: Sequence = "now",
    event_type: _Types = None,
    agent_id: FromQuery[str | None] = None,
    group: FromQuery[str | None] = None,
    last_event_id: LastEventId = None,
) -> Stream:
    """Send each event once it is committed, in the order of the log, as Server-Sent Events.

    A client that connects again resumes where it was, by the `Last-Event-ID` that browsers send.
    """
    position: int | Literal["now"] = position_in_log(last_event_id or after)
    events = storage.watch_events(position, types=event_type, agent_id=agent_id, group=group)
    return event_stream(events, lambda event: event.sequence, streams)


ROUTER = Router(
    "/events",
    route_handlers=[
        *common_handlers(EventModel),
        post("/batch", status_code=200)(append_events),
        read_events,
        stream_events,
    ],
    tags=["events"],
)
