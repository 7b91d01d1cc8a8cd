"""persist-queue and huey: queues on SQLite, which claim the next task and know nothing else of a swarm."""

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import persistqueue
from huey.storage import SqliteStorage as HueyStorage  # type: ignore[import-untyped]
from persistqueue.exceptions import Empty
from persistqueue.serializers import json as json_serializer

from benchmarks.peers.peer import Blocking
from swarm_persistence import Model, TaskModel


class PersistQueue(Blocking):
    """`SQLiteAckQueue`: an item that was got stays in the table until it is acknowledged."""

    key: ClassVar[str] = "persist-queue"
    title: ClassVar[str] = "persist-queue, ack queue"
    about: ClassVar[str] = (
        "`SQLiteAckQueue(multithreading=True, auto_commit=True)`, first in first out; the task travels as JSON; "
        "blocks the loop"
    )
    verbs: ClassVar[frozenset[str]] = frozenset({"claim_next"})
    family: ClassVar[str] = "persist-queue"

    def __init__(self) -> None:
        self.queue: Any

    async def fill(self, path: str, records: Sequence[Model]) -> None:
        """Make the queue, then add the rows as its `put` would, in one transaction."""
        queue = self._queue(path)
        queue.put(records[0].to_json())
        queue.close()
        connection = sqlite3.connect(path)
        with connection:
            (data,) = connection.execute("SELECT data FROM ack_queue_default").fetchone()
            if json_serializer.loads(data) != records[0].to_json():
                raise RuntimeError("persist-queue keeps its items in another form than this suite writes")
            rows = [(json_serializer.dumps(record.to_json()),) for record in records[1:]]
            connection.executemany(
                "INSERT INTO ack_queue_default (data, timestamp, status) VALUES (?, unixepoch(), 0)", rows
            )
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()

    async def open(self, path: str) -> None:
        """Open the queue."""
        self.queue = self._queue(path)

    async def close(self) -> None:
        """Close the queue."""
        self.queue.close()

    def claim_next(self, _: str) -> TaskModel | None:
        """Get the next item."""
        try:
            return TaskModel.from_json(self.queue.get(block=False))
        except Empty:
            return None

    @staticmethod
    def _queue(path: str) -> Any:
        file = Path(path)
        return persistqueue.SQLiteAckQueue(
            str(file.parent), db_file_name=file.name, multithreading=True, auto_commit=True, serializer=json_serializer
        )


class Huey(Blocking):
    """huey's own SQLite storage: a task that was dequeued is deleted, and lost if its worker dies."""

    key: ClassVar[str] = "huey"
    title: ClassVar[str] = "huey"
    about: ClassVar[str] = (
        "the storage of `SqliteHuey(fsync=True)`: by priority; dequeuing deletes the row, so that a task whose worker "
        "dies is gone; the task travels as JSON; blocks the loop"
    )
    verbs: ClassVar[frozenset[str]] = frozenset({"claim_next"})
    family: ClassVar[str] = "huey"

    def __init__(self) -> None:
        self.storage: Any

    async def fill(self, path: str, records: Sequence[Model]) -> None:
        """Make the queue, without syncing for each task."""
        storage = HueyStorage(filename=path, fsync=False)
        for record in records:
            if isinstance(record, TaskModel):
                storage.enqueue(record.to_json().encode(), record.priority.rank)
        storage.sql("PRAGMA wal_checkpoint(TRUNCATE)", results=True)
        storage.close()

    async def open(self, path: str) -> None:
        """Open the queue."""
        self.storage = HueyStorage(filename=path, fsync=True, timeout=60)

    async def close(self) -> None:
        """Close the queue."""
        self.storage.close()

    def claim_next(self, _: str) -> TaskModel | None:
        """Dequeue the next task."""
        data = self.storage.dequeue()
        return None if data is None else TaskModel.from_json(data)
