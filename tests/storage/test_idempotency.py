"""What becomes of a record whose key's holder vanishes while it is being stored."""

from typing import Any

import pytest

from swarm_persistence import MemoryStorage, TaskModel
from swarm_persistence.engines.reads import Read
from swarm_persistence_conformance.records import a_task


async def test_a_record_is_stored_after_all_if_the_holder_of_its_key_vanishes(monkeypatch: pytest.MonkeyPatch) -> None:
    storage = MemoryStorage()
    await storage.store_task(a_task("holder", idempotency_key="key"))
    read = storage._engine.read

    async def read_late(query: Read[Any]) -> Any:
        await storage.repository(TaskModel).delete("holder")
        return await read(query)

    monkeypatch.setattr(storage._engine, "read", read_late)

    late = a_task("late", idempotency_key="key")
    assert await storage.store_task(late) is late

    monkeypatch.undo()
    assert [task.id for task in await storage.repository(TaskModel).find_all()] == ["late"]
