"""Facts about reads of many large rows: the event loop's other tasks have turns between their records."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from swarm_persistence import PostgresStorage, TaskModel
from swarm_persistence.engines.sql.postgres import execution

COUNT = 20


async def _listed(storage: PostgresStorage) -> list[Any]:
    return await storage.get_pending_tasks()


async def _listed_in_a_transaction(storage: PostgresStorage) -> list[Any]:
    async with storage.transaction():
        return await storage.get_pending_tasks()


async def _iterated(storage: PostgresStorage) -> list[Any]:
    return [task async for task in storage.repository(TaskModel).iterate()]


@pytest.mark.parametrize("read", [_listed, _listed_in_a_transaction, _iterated])
async def test_other_tasks_have_turns_between_the_records_of_a_list(
    storage: PostgresStorage, monkeypatch: pytest.MonkeyPatch, read: Callable[[PostgresStorage], Awaitable[list[Any]]]
) -> None:
    tasks = [TaskModel.new("large", {"text": "x" * 1_000}) for _ in range(COUNT)]
    await storage.store_tasks(tasks)
    turns: list[int] = []
    records = 0
    decoding = execution._decode_in_slices

    async def counted(decode: Callable[[Any], Any], rows: Any) -> list[Any]:
        def decoded(row: Any) -> Any:
            nonlocal records
            records += 1
            return decode(row)

        return await decoding(decoded, rows)

    async def take_turns() -> None:
        while True:
            turns.append(records)
            await asyncio.sleep(0)

    monkeypatch.setattr(execution, "_decode_in_slices", counted)
    monkeypatch.setattr(execution, "_LONGEST_STAY_SECONDS", 0.0)
    other = asyncio.create_task(take_turns())
    found = await read(storage)
    other.cancel()

    assert [task.id for task in found] == [task.id for task in tasks]
    assert {*range(1, COUNT)} <= {*turns}
