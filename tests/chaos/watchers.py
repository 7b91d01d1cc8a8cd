"""Three watchers of a trial's log, each with its own method; they keep what they have seen."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing

from swarm_persistence import EventModel, init_storage

OVER = "over"
"""The type of the last event of a trial."""

_EVENTS_PER_VISIT = 400


class Watcher:
    """Sees the log through a storage of its own."""

    def __init__(self, url: str) -> None:
        self.seen: list[EventModel] = []
        self._url = url

    async def watch(self, tell: Callable[[EventModel], None] = lambda event: None) -> None:
        """Watch from the beginning to the end, and tell of each event."""
        async with await init_storage(self._url) as storage, aclosing(storage.watch_events()) as events:
            async for event in events:
                self.seen.append(event)
                tell(event)
                if event.event_type == OVER:
                    return

    async def watch_from_half_time(self, half_time: asyncio.Event) -> None:
        """Come late, read what has happened, and go on with what happens."""
        await half_time.wait()
        await self.watch()

    async def watch_in_many_visits(self) -> None:
        """Come and go; each time, go on behind the last event that was seen."""
        while not self.seen or self.seen[-1].event_type != OVER:
            await self._visit()

    async def _visit(self) -> None:
        last = self.seen[-1].sequence if self.seen else 0
        assert last is not None
        end = len(self.seen) + _EVENTS_PER_VISIT
        async with await init_storage(self._url) as storage, aclosing(storage.watch_events(after=last)) as events:
            async for event in events:
                self.seen.append(event)
                if event.event_type == OVER or len(self.seen) == end:
                    return
