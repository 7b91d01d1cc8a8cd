"""The floor of the latency on PostgreSQL: a row is stored with its notification, and claimed, by bare asyncpg.

What the library does beside it, this leaves out: there is one row, no lease, no type, no order and no second process
that may claim it. Its notification is part of the commit, which makes commits of many processes wait for each other.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

_TABLE = "latency_floor"
_STORE = f"""
WITH stored AS (INSERT INTO {_TABLE} (id, is_claimed) VALUES ($1, false) RETURNING id)
SELECT pg_notify('{_TABLE}', id::text) FROM stored
"""
_CLAIM = f"UPDATE {_TABLE} SET is_claimed = true WHERE id = $1 AND NOT is_claimed RETURNING id"


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Callable[[], Awaitable[object]]]:
    """Give what stores a row, in a new table."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(f"DROP TABLE IF EXISTS {_TABLE}")
        await connection.execute(f"CREATE TABLE {_TABLE} (id bigint PRIMARY KEY, is_claimed boolean NOT NULL)")
        store = await connection.prepare(_STORE)
        numbers = iter(range(2**63))
        yield lambda: store.fetchval(next(numbers))
    finally:
        await connection.close()


def claim_rows(url: str, pipe: Any) -> None:
    """Claim each row that is stored, and send when."""

    async def claim() -> None:
        listener, connection = await asyncpg.connect(url), await asyncpg.connect(url)
        update = await connection.prepare(_CLAIM)
        heard: asyncio.Queue[int] = asyncio.Queue()
        await listener.add_listener(_TABLE, lambda _connection, _process, _channel, id: heard.put_nowait(int(id)))
        pipe.send(0)
        while True:
            if await update.fetchval(await heard.get()) is None:
                raise RuntimeError("a row was notified of that cannot be claimed")
            pipe.send(time.monotonic())

    asyncio.run(claim())
