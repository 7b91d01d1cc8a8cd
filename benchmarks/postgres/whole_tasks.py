"""Measures whole tasks: stored, claimed, handled and completed by real workers, in processes of their own.

One caller stores tasks a hundred at once while the workers work; the time runs from the first task that is stored to
the last one that is recorded as done. The statements and the bytes of the log are the server's own counts; commits are
those of transactions that wrote, which the server numbers one by one: each waits for the disk.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from multiprocessing import get_context
from typing import Any, NamedTuple

import asyncpg

from benchmarks.postgres.queues import Queue

PROCESSES = (1, 2)
AT_ONCE = (8, 50)
_STORED_AT_ONCE = 100
_FEWEST = 200
_MOST = 20_000
_LONGEST_SECONDS = 120.0
_MARK = "/* counts */"

TASKS = "tasks per second"
UNITS = (TASKS, "statements per task", "commits per task", "bytes of WAL per task")


class Counts(NamedTuple):
    """What the server has done."""

    statements: float
    commits: float
    bytes: float


class WholeTasks(NamedTuple):
    """One measurement; the counts are those of one task."""

    rate: float
    counts: Counts

    def by_unit(self) -> dict[str, float]:
        """Return the figures by what they count."""
        return dict(zip(UNITS, (self.rate, *self.counts), strict=True))


async def measure(queue: Queue, processes: int, at_once: int, seconds: float) -> WholeTasks:
    """Let so many processes do so many tasks at once each, for about so many seconds."""
    observer = await asyncpg.connect(queue.url)
    try:
        await observer.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
        await queue.open()
        try:
            async with _workers(queue, processes, at_once) as handled:
                # The first ones tell how many to measure, and by then all connections and plans are there.
                first = await _do(queue, observer, handled, _FEWEST, 0)
                count = int(min(max(_FEWEST / first * seconds, _FEWEST), _MOST))
                before = await _counts(observer)
                took = await _do(queue, observer, handled, count, _FEWEST)
                after = await _counts(observer)
        finally:
            await queue.close()
    finally:
        await observer.close()
    return WholeTasks(count / took, Counts(*((end - begin) / count for begin, end in zip(before, after, strict=True))))


@asynccontextmanager
async def _workers(queue: Queue, processes: int, at_once: int) -> AsyncIterator[Any]:
    """Give the number of handled tasks, which worker processes raise until the end of the block."""
    context = get_context("spawn")
    handled, ready = context.Value("q", 0), context.Semaphore(0)
    workers = [
        context.Process(target=_work, args=(type(queue), queue.url, at_once, handled, ready), daemon=True)
        for _ in range(processes)
    ]
    for worker in workers:
        worker.start()
    try:
        for _ in workers:
            if not await asyncio.to_thread(ready.acquire, timeout=_LONGEST_SECONDS):
                raise RuntimeError(f"a worker of {queue.title} did not start")
        yield handled
    finally:
        for worker in workers:
            worker.kill()
            await asyncio.to_thread(worker.join)


def _work(kind: type[Queue], url: str, at_once: int, handled: Any, ready: Any) -> None:
    def count() -> None:
        with handled.get_lock():
            handled.value += 1

    asyncio.run(kind(url).work(at_once, count, ready.release))


async def _do(queue: Queue, observer: asyncpg.Connection, handled: Any, count: int, before: int) -> float:
    """Store so many tasks, wait until all are recorded as done, and return the seconds that took."""
    started = time.perf_counter()
    parts = iter(range(0, count, _STORED_AT_ONCE))

    async def store() -> None:
        for start in parts:
            await queue.store(min(_STORED_AT_ONCE, count - start))

    await asyncio.gather(*(store() for _ in range(queue.callers)))
    pause = 0.001
    while handled.value < before + count or await observer.fetchval(f"{queue.count_done} {_MARK}") < before + count:
        if time.perf_counter() - started > _LONGEST_SECONDS:
            raise RuntimeError(f"{queue.title} did not do {count} tasks in {_LONGEST_SECONDS:.0f} s")
        await asyncio.sleep(pause)
    return time.perf_counter() - started


async def _counts(observer: asyncpg.Connection) -> Counts:
    """Return what was done so far: all statements but those that ask here, and the commits of what was written."""
    row = await observer.fetchrow(
        f"""
        SELECT
          (SELECT sum(calls) FROM pg_stat_statements WHERE dbid = current.oid AND query NOT LIKE $1),
          pg_snapshot_xmax(pg_current_snapshot())::text::bigint,
          pg_current_wal_insert_lsn() - '0/0'::pg_lsn
        FROM pg_database AS current
        WHERE datname = current_database() {_MARK}
        """,
        f"%{_MARK}%",
    )
    assert row is not None
    return Counts(*map(float, row))
