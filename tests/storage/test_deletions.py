"""Facts about what a deletion of few records reads."""

from typing import Any

import pytest

from swarm_persistence import EventModel, QueryBuilder, Storage
from swarm_persistence.storage import deletions


async def test_records_that_are_named_by_their_ids_are_deleted_without_a_pass_over_the_table(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deletions, "SPAN", 2)
    await storage.append_events([EventModel(id=f"event-{number}", event_type="t") for number in range(100)])
    reads: list[Any] = []
    read = storage._engine.read

    def read_and_record(*arguments: Any) -> Any:
        reads.append(arguments)
        return read(*arguments)

    monkeypatch.setattr(storage._engine, "read", read_and_record)
    events = QueryBuilder(EventModel)

    assert await storage.delete_where(events.where_eq("id", "event-7").where_eq("event_type", "t")) == 1
    assert await storage.delete_where(events.where_in("id", ["event-8", "event-99"])) == 2
    assert len(reads) < 10
    reads.clear()
    assert await storage.delete_where(events.where_eq("event_type", "t")) == 97
    assert len(reads) > 97
