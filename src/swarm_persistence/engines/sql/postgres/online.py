"""Changes tables online, by short waits for locks, concurrent index builds, and writes in small batches."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import asyncpg

from swarm_persistence.backoff import Backoff
from swarm_persistence.engines.sql.postgres.connection import Connection
from swarm_persistence.engines.sql.postgres.failures import RetryDecision, retry_decision, state_of
from swarm_persistence.engines.sql.postgres.migrations.migration import CreateIndex, DropIndex, FillRows

_LOCK_MILLISECONDS = 100
"""How long a change of a table waits for its lock, with all later users of the table queued behind it."""
_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 2.0
_FIRST_ROWS = 500
_MOST_ROWS = 10_000
_BATCH_SECONDS = 0.1
"""How long a batch should take, as it locks its rows for that long. The next one begins after half that time."""

_FIND_INDEX = """
SELECT indisvalid
FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE nspname = $1 AND relname = $2
"""

_FIND_END = "SELECT coalesce(max(sequence), 0) FROM {table}"
_FIND_NEXT = "SELECT max(sequence) FROM (SELECT sequence FROM {table} WHERE sequence > $1 ORDER BY 1 LIMIT $2) AS found"


async def in_short_transaction(
    connection: Connection, work: Callable[[], Awaitable[None]], retry_seconds: float
) -> None:
    """Run some work in a transaction with a short lock timeout, and retry it for `retry_seconds`.

    Raises:
        asyncpg.LockNotAvailableError: others held a lock for longer.

    """

    async def attempt() -> None:
        await connection.begin()
        try:
            await connection.execute(f"SET LOCAL lock_timeout = {_LOCK_MILLISECONDS}")
            await work()
            await connection.commit()
        except BaseException:
            await connection.roll_back()
            raise

    await _retry(attempt, retry_seconds)


async def build_index(connection: Connection, schema: str, index: CreateIndex, retry_seconds: float) -> None:
    """Build an index concurrently, unless a valid one exists."""

    async def attempt() -> None:
        found = await connection.run(_FIND_INDEX, (schema, index.name))
        if found and found[0][0]:
            return
        drop = f'DROP INDEX CONCURRENTLY IF EXISTS "{schema}".{index.name}'
        if found:
            await connection.execute_watched(drop)
        try:
            await connection.execute_watched(index.statement(is_online=True).replace("{schema}", f'"{schema}"'))
        except asyncpg.PostgresError:
            if not connection.is_closed:
                await connection.execute_watched(drop)  # an invalid index would slow writers down, or refuse rows
            raise

    async with _without_lock_timeout(connection):
        await _retry(attempt, retry_seconds)


async def drop_index(connection: Connection, schema: str, index: DropIndex, retry_seconds: float) -> None:
    """Drop an index concurrently."""

    async def attempt() -> None:
        await connection.execute_watched(index.statement(is_online=True).replace("{schema}", f'"{schema}"'))

    async with _without_lock_timeout(connection):
        await _retry(attempt, retry_seconds)


async def fill_rows(
    connection: Connection, schema: str, part: FillRows, retry_seconds: float, report: Callable[[str], None]
) -> None:
    """Change all rows that are stored now, in batches."""
    table = f'"{schema}".{part.table}'
    text = part.statement.replace("{schema}", f'"{schema}"')
    end: int = (await connection.run(_FIND_END.format(table=table)))[0][0]
    done, rows = -1, _FIRST_ROWS
    next_report = time.monotonic() + 5
    while done < end:
        upto = (await connection.run(_FIND_NEXT.format(table=table), (done, rows)))[0][0]
        if upto is None:
            return
        started = time.monotonic()
        bounds = (done, upto)

        async def change(bounds: tuple[int, int] = bounds) -> None:
            await connection.run(text, bounds)

        await in_short_transaction(connection, change, retry_seconds)
        seconds = time.monotonic() - started
        rows = max(1, min(_MOST_ROWS, int(rows * min(2.0, _BATCH_SECONDS / max(seconds, 0.001)))))
        done = upto
        if time.monotonic() >= next_report:
            next_report = time.monotonic() + 5
            report(f"filled the rows of {part.table} up to {done:,} of {end:,}")
        await asyncio.sleep(_BATCH_SECONDS / 2)


async def _retry(attempt: Callable[[], Awaitable[None]], retry_seconds: float) -> None:
    deadline = time.monotonic() + retry_seconds
    backoff = Backoff(_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS)
    while True:
        try:
            await attempt()
            return
        except asyncpg.PostgresError as error:
            is_retried = state_of(error) == "55P03" or retry_decision(error, is_closed=False) is RetryDecision.RETRY
            if not is_retried or time.monotonic() >= deadline:
                raise
        await asyncio.sleep(backoff.next())


@asynccontextmanager
async def _without_lock_timeout(connection: Connection) -> AsyncIterator[None]:
    """Let a concurrent build wait for old transactions without limit, as no reader or writer waits behind it."""
    if not connection.owns_session:
        yield  # the session is not ours to change
        return
    before = (await connection.run("SELECT current_setting('lock_timeout')"))[0][0]
    await connection.execute("SET lock_timeout = 0")
    try:
        yield
    finally:
        if not connection.is_closed:
            try:
                await connection.execute(f"SET lock_timeout = '{before}'")
            except BaseException:
                connection.terminate()  # others would wait for it forever
                raise
