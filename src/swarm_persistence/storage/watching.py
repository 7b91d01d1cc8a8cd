"""Watches a table: first what is stored already, then what is written, without a gap and without a repetition."""

import asyncio
from collections.abc import AsyncGenerator

from swarm_persistence.engines.interface import Engine, FeedPosition
from swarm_persistence.query.query import Query
from swarm_persistence.schema.codec import codec_of
from swarm_persistence.schema.tables import M
from swarm_persistence.storage.feeds import Feeds


async def watched(feeds: Feeds, engine: Engine, query: Query[M], after: FeedPosition) -> AsyncGenerator[M, None]:
    """Yield the records that were written since a place, as they are now, then wait for more, without an end."""
    feed = feeds.of(engine, query)
    # Every watcher has records of its own: the caller may change them.
    decode = codec_of(query.table.model).decode
    while True:
        # Subscribed before it reads: what lies behind the start comes from the feed, all else is read here.
        subscription = feed.subscribe()
        try:
            has_caught_up = False
            while not has_caught_up:
                start = subscription.start
                page = await feed.read(after, start)
                # Nothing is held while the caller has the record: it may take its time, and write.
                for row in page.rows:
                    yield decode(row)
                after = max(after, page.position)
                has_caught_up = not page.is_full and start is not None
                if not page.is_full and subscription.start is None:
                    feed.begin(page.position)
                    has_caught_up = True
                await asyncio.sleep(0)
            assert subscription.start is not None
            after = max(after, subscription.start)
            subscription.skip(after)
            while (taken := await subscription.take()) is not None:
                yield decode(taken)
            assert subscription.end is not None
            after = max(after, subscription.end)
        finally:
            feed.unsubscribe(subscription)
