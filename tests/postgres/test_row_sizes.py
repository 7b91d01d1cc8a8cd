"""Facts about the bytes that one statement sends, which the driver encodes in one go of the event loop."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import pytest

from swarm_persistence import ConflictError, DocumentModel, PostgresStorage, QueryBuilder, TaskModel, TaskStatus
from swarm_persistence.engines.sql.postgres.connection import Connection
from swarm_persistence.engines.sql.postgres.row_sizes import MOST_BYTES, first_part, parts_of, sizes_at
from swarm_persistence.engines.steps import Restore
from swarm_persistence.schema.codec import codec_of
from swarm_persistence.schema.tables import TASKS
from swarm_persistence_conformance.records import a_task

FILES = ("files",)
TEXT = "x" * 60_000
COUNT = 60
COMPLETED = QueryBuilder(TaskModel).where_eq("status", TaskStatus.COMPLETED)


def tasks(prefix: str) -> list[TaskModel]:
    return [a_task(f"{prefix}{number:02}", payload={"text": TEXT, "number": number}) for number in range(COUNT)]


def documents(prefix: str) -> list[DocumentModel]:
    return [DocumentModel.new(FILES, f"{prefix}{number:02}", TEXT) for number in range(COUNT)]


async def store(storage: PostgresStorage) -> int:
    await asyncio.gather(*map(storage.store_task, tasks("t")))
    return await storage.repository(TaskModel).count()


async def store_together(storage: PostgresStorage) -> int:
    await storage.store_tasks(tasks("t"))
    return await storage.repository(TaskModel).count()


async def store_waiting(storage: PostgresStorage) -> int:
    await storage.store_task(a_task("open"))
    waiting = tasks("t")
    for task in waiting:
        task.dependencies = ["open"]
    await storage.store_tasks(waiting)
    return len(await storage.get_blocked_tasks())


async def restored(storage: PostgresStorage) -> int:
    encode = codec_of(TaskModel).encode
    rows = [(*encode(task), 0, False, False, 0, number) for number, task in enumerate(tasks("t"), 1)]
    await storage._engine.write([Restore(TASKS, rows, keeps_sequences=True)])
    return await storage.repository(TaskModel).count()


async def complete(storage: PostgresStorage) -> int:
    await storage.store_tasks([TaskModel.new("small", None) for _ in range(COUNT)])
    claimed = await storage.claim_next_tasks("agent", limit=COUNT)
    await asyncio.gather(*(storage.complete_task(task, TEXT) for task in claimed))
    return await storage.repository(TaskModel).count(COMPLETED)


async def put(storage: PostgresStorage) -> int:
    await asyncio.gather(*(storage.put_documents([document]) for document in documents("k")))
    return len(await storage.list_document_keys(FILES))


async def put_together(storage: PostgresStorage) -> int:
    await storage.put_documents(documents("k"))
    return len(await storage.list_document_keys(FILES))


@pytest.mark.parametrize("work", [store, store_together, store_waiting, restored, complete, put, put_together])
async def test_many_large_values_are_sent_in_several_statements(
    storage: PostgresStorage, monkeypatch: pytest.MonkeyPatch, work: Callable[[PostgresStorage], Awaitable[int]]
) -> None:
    sent: list[int] = []
    run = Connection.run

    async def measured(self: Connection, text: str, values: Iterable[Any] = ()) -> list[Any]:
        sent.append(sum(map(_bytes_in, values)))
        return await run(self, text, [*values])

    monkeypatch.setattr(Connection, "run", measured)

    assert await work(storage) == COUNT
    assert max(sent) < MOST_BYTES + COUNT * 100  # ids count for nothing
    assert sum(sent) > COUNT * len(TEXT)


def _bytes_in(value: Any) -> int:
    if isinstance(value, list | tuple):
        return sum(map(_bytes_in, value))
    return len(value) if isinstance(value, str | bytes) else 0


async def test_a_put_of_many_large_documents_is_whole_or_not_at_all_and_keeps_their_order(
    storage: PostgresStorage,
) -> None:
    shuffled = random.Random(1).sample(documents("k"), COUNT)
    await storage.put_documents(shuffled)

    arrived = await storage.list_documents(FILES, by_arrival=True, limit=COUNT)
    assert [each.key for each in arrived] == [each.key for each in shuffled]

    await storage.put_documents(documents("sorted"))
    arrived = await storage.list_documents(FILES, by_arrival=True, limit=2 * COUNT)
    assert [each.key for each in arrived[COUNT:]] == [each.key for each in documents("sorted")]

    with pytest.raises(ConflictError, match="'t00'"):
        await storage.store_tasks([*tasks("t"), a_task("t00")])
    assert await storage.repository(TaskModel).count() == 0


def test_a_part_holds_a_row_at_least_and_as_many_as_its_bytes_allow() -> None:
    half = MOST_BYTES // 2
    rows = [(number, "x" * size, None) for number, size in enumerate((half, half, 1, 2 * MOST_BYTES, 5, 5, 5))]
    size_of = sizes_at((1, 2))

    parts = [[number for number, *_ in part] for part in parts_of(rows, 2, size_of)]

    assert parts == [[0, 1], [2], [3], [4, 5], [6]]
    assert first_part(rows, 10, sizes_at(())) == len(rows)
    assert first_part([], 10, size_of) == 0
