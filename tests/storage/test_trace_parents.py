"""Facts about a malformed `trace_parent` that an earlier release has stored: it stays, and stops nothing."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from swarm_persistence import (
    AgentModel,
    MemoryStorage,
    SerializationError,
    SqliteStorage,
    TaskModel,
    TaskStatus,
    Worker,
)
from swarm_persistence.transfer.copying import copy
from swarm_persistence.transfer.endpoints import StorageEndpoint
from swarm_persistence_conformance.records import a_task


async def fail(task: TaskModel) -> None:
    raise ValueError(f"{task.id} fails")


async def test_a_malformed_trace_of_an_earlier_release_stops_nothing(tmp_path: Path) -> None:
    path = tmp_path / "swarm.db"
    async with await SqliteStorage.open(path) as storage:
        await storage.store_task(a_task("old", max_retries=0))
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE tasks SET trace_parent = 'request 17'")

    async with await SqliteStorage.open(path) as storage:
        async with Worker(storage, AgentModel.new("w", "w"), {"analyze-data": fail}, heeds_signals=False) as worker:
            await worker.run_until_idle()
        task = await storage.retry_task("old")
        assert (task.status, task.trace_parent) == (TaskStatus.PENDING, "request 17")
        with pytest.raises(SerializationError, match=r"task\.trace_parent is 'request 17', expected W3C's"):
            await storage.update_task(task)
        async with MemoryStorage() as other:
            copied = await copy(StorageEndpoint(storage), StorageEndpoint(other))
            assert all(each.is_equal for each in copied)
            assert await other.get_task("old") == task
