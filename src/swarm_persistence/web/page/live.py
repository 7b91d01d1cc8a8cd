"""Notifies browsers of changes; their script then reloads the page."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Annotated

from litestar import get
from litestar.params import QueryParameter
from litestar.response import Stream

from swarm_persistence import InvalidQueryError, Model, Storage, TaskLimit
from swarm_persistence.errors import shown
from swarm_persistence.schema.tables import PUBLIC_TABLES
from swarm_persistence.web.dependencies import InjectedStorage, InjectedStreams
from swarm_persistence.web.open_streams import OpenStreams

_MODELS: dict[str, type[Model]] = {"limits": TaskLimit, **{table.name: table.model for table in PUBLIC_TABLES}}
_SHORTEST_PAUSE_SECONDS = 0.25
"""The shortest time between events; changes in between are coalesced."""
_SILENCE_SECONDS = 15.0
"""After so long without an event, a comment is sent, so that a disconnected client is noticed."""


@get("/live", include_in_schema=False)
async def live(
    storage: InjectedStorage,
    streams: InjectedStreams,
    of: Annotated[str, QueryParameter(description="The names of tables.")] = "tasks",
) -> Stream:
    """Send an event after commits to these tables, as Server-Sent Events."""
    names = of.split()
    unknown = [name for name in names if name not in _MODELS]
    if unknown or not names:
        raise InvalidQueryError(f"of is {shown(of)}, expected some of {' '.join(_MODELS)}")
    streams.require_room()
    events = _events(storage, streams, [_MODELS[name] for name in names])
    return Stream(events, media_type="text/event-stream", headers={"cache-control": "no-store"})


async def _events(storage: Storage, streams: OpenStreams, models: list[type[Model]]) -> AsyncGenerator[bytes, None]:
    # Nothing of the changes is kept: a browser that reads slowly costs no more than one that does not.
    with streams.open() as end:
        watch = storage.watch_commits(*models)
        try:
            yield b"retry: 1000\n\n"
            while not end.done():
                waiting = asyncio.ensure_future(watch.wait(_SILENCE_SECONDS))
                await asyncio.wait((waiting, end), return_when=asyncio.FIRST_COMPLETED)
                if not waiting.done():
                    waiting.cancel()
                    await asyncio.wait((waiting,))
                    break
                yield b"event: change\ndata: \n\n" if waiting.result() else b": silence\n\n"
                await asyncio.wait((end,), timeout=_SHORTEST_PAUSE_SECONDS)
        finally:
            watch.close()
