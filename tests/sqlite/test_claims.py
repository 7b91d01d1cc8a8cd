"""Facts about the engine's claim: first in order, never twice, and undone if a row cannot be read."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import apsw
import pytest

from polling import until
from sqlite.tracing import Watch
from swarm_persistence import QueryBuilder, SerializationError, SqliteStorage, TaskModel, TaskPriority, TaskStatus
from swarm_persistence.clock import ManualClock, use_clock
from swarm_persistence.engines.steps import Claim, Increment
from swarm_persistence_conformance.records import a_task, ids

CHANGES: dict[str, Any] = {"status": "assigned", "assigned_to": "a", "version": Increment()}


def ready(limit: int) -> Claim[TaskModel]:
    query = QueryBuilder(TaskModel).where_eq("status", "pending").order_by("priority", desc=True)
    return Claim(query.order_by("created_at").limit(limit).query, CHANGES)


async def claim(storage: SqliteStorage, limit: int) -> list[TaskModel]:
    (tasks,) = await storage._engine.write([ready(limit)])
    claimed: list[TaskModel] = tasks
    return claimed


class TestClaims:
    async def test_it_takes_the_first_in_their_order(self, storage: SqliteStorage) -> None:
        low, high = TaskPriority.LOW, TaskPriority.HIGH
        await storage.store_many(a_task(f"task-{n}", priority=high if n % 3 else low) for n in range(9))

        claimed = await claim(storage, 8)

        assert ids(claimed) == [f"task-{n}" for n in (1, 2, 4, 5, 7, 8, 0, 3)]
        assert {(task.status, task.assigned_to, task.version) for task in claimed} == {(TaskStatus.ASSIGNED, "a", 2)}

    async def test_none_is_taken_twice(self, storage: SqliteStorage) -> None:
        await storage.store_many(a_task(f"task-{n}") for n in range(100))

        claimed = await asyncio.gather(*(claim(storage, 3) for _ in range(40)))

        assert sorted(id for each in claimed for id in ids(each)) == sorted(f"task-{n}" for n in range(100))

    async def test_one_that_meets_an_unreadable_row_is_undone(self, storage: SqliteStorage, watch: Watch) -> None:
        await storage.store_many([a_task("good"), a_task("bad"), a_task("other")])
        watch.writer.execute("UPDATE tasks SET dependencies = 'mouse' WHERE id = 'bad'")

        outcomes = await asyncio.gather(claim(storage, 2), claim(storage, 1), return_exceptions=True)

        assert isinstance(outcomes[0], SerializationError)
        assert "task 'bad'" in str(outcomes[0])
        assert isinstance(outcomes[1], list)
        assert ids(outcomes[1]) == ["good"]
        rows = watch.writer.execute("SELECT id FROM tasks WHERE status = 'pending' ORDER BY id").fetchall()
        assert rows == [("bad",), ("other",)]

    async def test_one_inside_a_transaction_that_meets_an_unreadable_row_is_undone(
        self, storage: SqliteStorage, watch: Watch
    ) -> None:
        await storage.store_many([a_task("good"), a_task("bad")])
        watch.writer.execute("UPDATE tasks SET dependencies = 'mouse' WHERE id = 'bad'")

        session = await storage._engine.begin()
        with pytest.raises(SerializationError):
            await session.write([ready(2)])
        await session.commit()

        assert watch.writer.execute("SELECT count(*) FROM tasks WHERE status = 'pending'").get == 2


class TestLeases:
    @pytest.mark.parametrize("verb", ["claim", "extend"])
    async def test_one_counts_from_its_statement_not_from_the_call(
        self, storage: SqliteStorage, path: Path, verb: str
    ) -> None:
        await storage.store_many([a_task("held"), a_task("next")])
        held = await storage.claim_next_task("slow", lease=1000)
        assert held is not None
        other_process = apsw.Connection(str(path))
        other_process.execute("BEGIN IMMEDIATE").fetchall()

        async def write() -> TaskModel | None:
            if verb == "claim":
                return await storage.claim_next_task("slow", lease=2)
            await storage.extend_lease(held, lease=2)
            return held

        with use_clock(ManualClock()) as clock:
            writing = asyncio.create_task(write())
            await until(lambda: storage._engine._busy_handler.wait.is_waiting)
            clock.advance(3)
            other_process.close()
            task = await writing
            assert task is not None
            assert task.lease_expires_at == clock.now() + timedelta(seconds=2)
