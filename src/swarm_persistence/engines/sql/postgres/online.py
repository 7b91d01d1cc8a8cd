"""Changes tables beside their readers and writers: short waits for locks, indexes built concurrently, short writes."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import asyncpg

from swarm_persistence.backoff import Backoff
from swarm_persistence.engines.sql.postgres.connection import Connection
from swarm_persistence.engines.sql.postgres.failures import state_of
from swarm_persistence.engines.sql.postgres.migrations.migration import CreateIndex, DropIndex, FillRows

_LOCK_MILLISECONDS = 100
"""How long a change of a table waits in front of all others that need the table."""
_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 2.0
_REPEATABLE = {"55P03", "40001", "40P01"}
"""Lock not available in time, serialization failure, deadlock."""
_FIRST_ROWS = 500
_MOST_ROWS = 10_000
_BATCH_SECONDS = 0.1
"""How long a short write should take; it holds its rows for as long. The next one begins after a pause of half that."""

_FIND_INDEX = """
SELECT indisvalid
FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE nspname = $1 AND relname = $2
"""

_FIND_END = "SELECT coalesce(max(sequence), 0) FROM {table}"
_FIND_NEXT = "SELECT max(sequence) FROM (SELECT sequence FROM {table} WHERE sequence > $1 ORDER BY 1 LIMIT $2) AS found"


async def in_short_transaction(connection: Connection, work: Callable[[], Awaitable[None]], patience: float) -> None:
    """Do some work in a transaction that soon gives up on a lock, and again until the patience is over, in seconds.

    Raises:
        asyncpg.LockNotAvailableError: others held a lock for longer.

    """

    async def attempt() -> None:
        await connection.begin()
        try:
            await connection.order(f"SET LOCAL lock_timeout = {_LOCK_MILLISECONDS}")
            await work()
            await connection.commit()
        except BaseException:
            await connection.roll_back()
            raise

    await _again_and_again(attempt, patience)


async def build_index(connection: Connection, schema: str, index: CreateIndex, patience: float) -> None:
    """Build an index beside writers; one that is there and complete is left as it is."""

    async def attempt() -> None:
        found = await connection.run(_FIND_INDEX, (schema, index.name))
        if found and found[0][0]:
            return
        drop = f'DROP INDEX CONCURRENTLY IF EXISTS "{schema}".{index.name}'
        if found:
            await connection.order_patiently(drop)
        try:
            await connection.order_patiently(index.statement(is_online=True).replace("{schema}", f'"{schema}"'))
        except asyncpg.PostgresError:
            if not connection.is_closed:
                await connection.order_patiently(drop)  # what is left of it would slow writers down, or refuse rows
            raise

    async with _without_lock_timeout(connection):
        await _again_and_again(attempt, patience)


async def drop_index(connection: Connection, schema: str, index: DropIndex, patience: float) -> None:
    """Drop an index beside readers and writers."""

    async def attempt() -> None:
        await connection.order_patiently(index.statement(is_online=True).replace("{schema}", f'"{schema}"'))

    async with _without_lock_timeout(connection):
        await _again_and_again(attempt, patience)


async def fill_rows(
    connection: Connection, schema: str, part: FillRows, patience: float, report: Callable[[str], None]
) -> None:
    """Change all rows that are there now, a few at a time."""
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

        await in_short_transaction(connection, change, patience)
        seconds = time.monotonic() - started
        rows = max(1, min(_MOST_ROWS, int(rows * min(2.0, _BATCH_SECONDS / max(seconds, 0.001)))))
        done = upto
        if time.monotonic() >= next_report:
            next_report = time.monotonic() + 5
            report(f"filled the rows of {part.table} up to {done:,} of {end:,}")
        await asyncio.sleep(_BATCH_SECONDS / 2)


async def _again_and_again(attempt: Callable[[], Awaitable[None]], patience: float) -> None:
    deadline = time.monotonic() + patience
    backoff = Backoff(_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS)
    while True:
        try:
            await attempt()
            return
        except asyncpg.PostgresError as error:
            if state_of(error) not in _REPEATABLE or time.monotonic() >= deadline:
                raise
        await asyncio.sleep(backoff.next())


@asynccontextmanager
async def _without_lock_timeout(connection: Connection) -> AsyncIterator[None]:
    """Let a concurrent build wait for old transactions as long as it must: no reader or writer waits behind it."""
    if not connection.owns_session:
        yield  # the session is not ours to change
        return
    before = (await connection.run("SELECT current_setting('lock_timeout')"))[0][0]
    await connection.order("SET lock_timeout = 0")
    try:
        yield
    finally:
        if not connection.is_closed:
            await _set_lock_timeout(connection, before)


async def _set_lock_timeout(connection: Connection, value: str) -> None:
    try:
        await connection.order(f"SET lock_timeout = '{value}'")
    except BaseException:
        connection.terminate()  # others would wait for ever on it
        raise
