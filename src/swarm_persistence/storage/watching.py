"""Watches a table: yields the stored records, then the changes, without gaps or repetitions."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any

import msgspec

from swarm_persistence.engines.following import end_of, position_of
from swarm_persistence.engines.interface import Engine, FeedPosition
from swarm_persistence.query.builder import bound
from swarm_persistence.query.query import Condition, Query
from swarm_persistence.schema.codec import Row, codec_of
from swarm_persistence.schema.tables import SEQUENCE, M
from swarm_persistence.schema.values import LARGEST_INTEGER
from swarm_persistence.storage.feeds import FIRST_ROWS, Feeds, next_limit

NOW = "now"
"""The value of `after` for a caller that wants to see only later writes."""

_AFTER_ALL = end_of(LARGEST_INTEGER - 1)
_ALWAYS = Condition(SEQUENCE, ">", 0)


class Watched:
    """The records of a query from a position on; the position moves along with the records that are yielded.

    A `filter` is a query's conditions as a function of a row; all watchers of a table then share its feed.
    """

    def __init__(
        self,
        feeds: Feeds,
        engine: Engine,
        query: Query[Any],
        after: FeedPosition | None,
        filter: Callable[[Row], bool] | None = None,
    ) -> None:
        self.position = after
        """The position up to which all records were yielded; `None` stands for the end, before it is known."""
        self._feeds = feeds
        self._engine = engine
        self._query = query
        self._filter = filter

    async def records(self) -> AsyncGenerator[Any, None]:
        """Yield the records written after the position, in their present state, then wait for more; never ends."""
        shared = self._query if self._filter is None else Query(self._query.table)
        feed = self._feeds.of(self._engine, shared)
        # Each watcher decodes its own records, since the caller may change them.
        decode = codec_of(self._query.table.model).decode
        after = self.position = await self._end() if self.position is None else self.position
        while True:
            # Subscribe before reading: the feed delivers the rows after its start, all earlier ones are read here.
            subscription = feed.subscribe(self._filter)
            try:
                has_caught_up = False
                limit = FIRST_ROWS
                while not has_caught_up:
                    start = subscription.start
                    page = await self._engine.follow(self._query, after, limit, start)
                    limit = next_limit(limit, page.rows)
                    # No lock or connection is held while the caller handles the record.
                    for row in page.rows:
                        self._move_to(row)
                        yield decode(row)
                    after = self.position = max(after, page.position)
                    has_caught_up = not page.is_full and start is not None
                    if not page.is_full and subscription.start is None:
                        feed.begin(page.position)
                        has_caught_up = True
                    await asyncio.sleep(0)
                del page  # a watcher that waits holds no rows
                assert subscription.start is not None
                after = self.position = max(after, subscription.start)
                subscription.skip(after)
                while (taken := await subscription.take()) is not None:
                    self._move_to(taken)
                    yield decode(taken)
                assert subscription.end is not None
                after = self.position = max(after, subscription.end)
            finally:
                feed.unsubscribe(subscription)

    async def _end(self) -> FeedPosition:
        """Return the position after all commits that precede the call."""
        # With a condition, the engine passes over all that does not match it, to the end.
        query = msgspec.structs.replace(self._query, conditions=(*self._query.conditions, _ALWAYS))
        return (await self._engine.follow(query, _AFTER_ALL, 1)).position

    def _move_to(self, row: Row) -> None:
        self.position = position_of(self._query.table, row)


def watched(feeds: Feeds, engine: Engine, query: Query[M], after: int | str) -> AsyncGenerator[M, None]:
    """Yield the records after a sequence, or after the end with `"now"`, then wait for more."""
    is_now = isinstance(after, str) and after == NOW
    return Watched(feeds, engine, query, None if is_now else end_of(bound("after", after))).records()
