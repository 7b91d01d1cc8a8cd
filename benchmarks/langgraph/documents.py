"""Documents: read beside tasks, and put beside the driver's own statement on the same table."""

import time
from pathlib import Path
from typing import Any

import apsw
import msgspec

from benchmarks.postgres.rounds import rate_of
from swarm_persistence import DocumentModel, SqliteStorage, TaskModel
from swarm_persistence.clock import microseconds
from swarm_persistence.models.collections import collection_text

BULK = 1_000
COLLECTION = ("memories", "agent-1")
_PUT = """\
INSERT INTO documents (
  id, collection, key, label, created_at, updated_at, expires_at, version, value, data, change_number
)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET
  label = excluded.label, updated_at = excluded.updated_at, expires_at = excluded.expires_at,
  version = documents.version + 1, value = excluded.value, data = excluded.data,
  change_number = excluded.change_number
"""


async def get_rate(what: str, path: Path, in_flight: int, seconds: float, stored: int) -> float:
    """Return the documents, or the tasks, that are read a second by what names them."""
    async with await SqliteStorage.open(path) as storage:
        tasks = [TaskModel.new("measured", _value(number)) for number in range(stored)]
        await storage.store_many(tasks)
        await storage.put_documents(documents(stored))
        if what == "task":
            return await rate_of(lambda number: storage.get_task(tasks[number % stored].id), in_flight, seconds)
        keys = [f"key-{number:06}" for number in range(stored)]
        return await rate_of(lambda number: storage.get_document(COLLECTION, keys[number % stored]), in_flight, seconds)


async def put_rate(peer: str, path: Path, seconds: float) -> float:
    """Return the documents stored a second, 1,000 as one; half of the calls replace what is stored."""
    async with await SqliteStorage.open(path) as storage:
        if peer == "swarm":
            return await _rate_of_ours(storage, seconds)
    return _rate_of_apsw(path, seconds)


def documents(count: int, first: int = 0) -> list[DocumentModel]:
    """Return documents of about 200 bytes."""
    return [DocumentModel.new(COLLECTION, f"key-{number:06}", _value(number)) for number in range(first, first + count)]


def _value(number: int) -> dict[str, object]:
    return {"number": number, "text": "x" * 180}


async def _rate_of_ours(storage: SqliteStorage, seconds: float) -> float:
    taken = 0.0
    done = 0
    while taken < seconds:
        given = documents(BULK, first=done // (2 * BULK) * BULK)
        started = time.perf_counter()
        await storage.put_documents(given)
        taken += time.perf_counter() - started
        done += BULK
    return done / taken


def _rate_of_apsw(path: Path, seconds: float) -> float:
    connection = apsw.Connection(str(path))
    connection.execute("PRAGMA synchronous = FULL").fetchall()
    taken = 0.0
    done = 0
    while taken < seconds:
        given = documents(BULK, first=done // (2 * BULK) * BULK)
        started = time.perf_counter()
        with connection:
            number: Any = connection.execute("SELECT coalesce(max(change_number), 0) + 1 FROM documents").fetchall()
            connection.executemany(_PUT, [(*_row(each), number[0][0]) for each in given])
        taken += time.perf_counter() - started
        done += BULK
    connection.close()
    return done / taken


def _row(document: DocumentModel) -> tuple[str | int | bytes | None, ...]:
    return (
        document.id,
        collection_text(document.collection),
        document.key,
        document.label,
        microseconds(document.created_at),
        microseconds(document.updated_at),
        None,
        1,
        msgspec.json.encode(document.value).decode(),
        document.data,
    )
