"""Watches a table: first what is stored already, then what is written, without a gap and without a repetition."""

import asyncio
from collections.abc import AsyncGenerator

from swarm_persistence.engines.interface import Engine
from swarm_persistence.query.query import Query
from swarm_persistence.schema.tables import M

BATCH = 500
LONGEST_WAIT_SECONDS = 5.0
"""After so long without a wake-up, a watcher looks all the same."""


async def watched(engine: Engine, query: Query[M], after: int) -> AsyncGenerator[M, None]:
    """Yield the records that were written since a cursor, as they are now, then wait for more, without an end."""
    watch = engine.watch((query.table,))
    try:
        while True:
            records, cursor = await engine.follow(query, after, BATCH)
            # Nothing is held while the caller has the record: it may take its time, and write.
            for record in records:
                yield record
            if cursor == after:
                await watch.wait(LONGEST_WAIT_SECONDS)
            else:
                await asyncio.sleep(0)
            after = cursor
    finally:
        watch.close()
