"""Watches a table: yields the stored records, then the changes, without gaps or repetitions."""

import asyncio
from collections.abc import AsyncGenerator

from swarm_persistence.engines.interface import Engine, FeedPosition
from swarm_persistence.query.query import Query
from swarm_persistence.schema.codec import codec_of
from swarm_persistence.schema.tables import M
from swarm_persistence.storage.feeds import Feeds


async def watched(feeds: Feeds, engine: Engine, query: Query[M], after: FeedPosition) -> AsyncGenerator[M, None]:
    """Yield the records written after a position, in their present state, then wait for more; never ends by itself."""
    feed = feeds.of(engine, query)
    # Each watcher decodes its own records, since the caller may change them.
    decode = codec_of(query.table.model).decode
    while True:
        # Subscribe before reading: the feed delivers the rows after its start, all earlier ones are read here.
        subscription = feed.subscribe()
        try:
            has_caught_up = False
            while not has_caught_up:
                start = subscription.start
                page = await feed.read(after, start)
                # No lock or connection is held while the caller handles the record.
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
