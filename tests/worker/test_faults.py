"""A database that refuses for a while: nothing is lost, and the worker goes on."""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import apsw

from swarm_persistence import SqliteStorage, TaskModel
from swarm_persistence.clock import now
from swarm_persistence_conformance.waiting import LIMIT_SECONDS
from worker.workers import a_worker, completed, soon, store


class Told(logging.Handler):
    """Waits for what is logged."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.event = asyncio.Event()
        self._text = text

    def emit(self, record: logging.LogRecord) -> None:
        if self._text in record.getMessage():
            self.event.set()


@contextmanager
def told(text: str) -> Iterator[asyncio.Event]:
    """Give an event that is set once a text is logged."""
    handler = Told(text)
    log = logging.getLogger("swarm_persistence")
    log.addHandler(handler)
    try:
        yield handler.event
    finally:
        log.removeHandler(handler)


def locked(path: Path) -> apsw.Connection:
    """Return a connection that blocks all other writers, once the current write is done."""
    connection = apsw.Connection(str(path))
    connection.set_busy_timeout(10_000)
    connection.execute("BEGIN IMMEDIATE")
    return connection


async def test_a_claim_that_the_database_refuses_is_tried_again(path: Path) -> None:
    async def work(_: TaskModel) -> str:
        return "done"

    async with await SqliteStorage.builder().connection_timeout(0.2).build(path) as storage:
        await store(storage, "a", run_at=now() + timedelta(seconds=1))
        with told("cannot claim") as refused:
            async with a_worker(storage, {"work": work}):
                lock = locked(path)
                await soon(refused)
                lock.execute("ROLLBACK")
                lock.close()
                task = (await completed(storage, "a"))["a"]
    assert (task.result, task.claim_count, task.retry_count) == ("done", 1, 0)


async def test_a_result_that_the_database_refuses_is_written_later(path: Path) -> None:
    lock: apsw.Connection

    async def work(_: TaskModel) -> str:
        nonlocal lock
        lock = locked(path)
        return "done"

    async with await SqliteStorage.builder().connection_timeout(0.2).build(path) as storage:
        await store(storage, "a")
        with told("could not be written") as refused:
            async with a_worker(storage, {"work": work}) as worker:
                await soon(refused)
                lock.execute("ROLLBACK")
                lock.close()
                task = (await completed(storage, "a"))["a"]
    assert (task.result, task.claim_count, worker.outcomes) == ("done", 1, {"completed": 1})


async def test_a_row_that_cannot_be_read_stops_no_worker(path: Path) -> None:
    async def work(_: TaskModel) -> str:
        return "done"

    async with await SqliteStorage.open(path) as storage:
        await store(storage, "broken")
        with apsw.Connection(str(path)) as file:
            file.execute("UPDATE tasks SET payload = '{' WHERE id = 'broken'")
        file.close()
        with told("cannot claim") as refused:
            async with a_worker(storage, {"work": work}):
                await soon(refused)
                await store(storage, "a")
                # A watch of all tasks would meet the broken row.
                async with asyncio.timeout(LIMIT_SECONDS):
                    while (task := await storage.get_task("a")) is None or task.result != "done":
                        pass
