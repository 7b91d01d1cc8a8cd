"""The measured savers on PostgreSQL, opened as their documentation says.

They stand apart, as the processes that measure SQLite import no driver of a server: each full garbage collection goes
through all that a process has imported.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver

from benchmarks.langgraph.savers import OURS
from swarm_persistence import PostgresStorage
from swarm_persistence.contrib.langgraph import SwarmSaver


@asynccontextmanager
async def postgres_saver(peer: str, url: str) -> AsyncIterator[Any]:
    """Give a saver on a database."""
    if peer == OURS:
        async with await PostgresStorage.open(url) as storage:
            yield SwarmSaver(storage)
    else:
        async with AsyncPostgresSaver.from_conn_string(url) as saver:
            await saver.setup()
            yield saver
