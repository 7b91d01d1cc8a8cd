"""Facts about stored texts that are not UTF-8, as a flipped bit leaves them: they are named, and hide no other row."""

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from sqlite.tracing import Watch
from swarm_persistence import (
    AgentModel,
    DocumentModel,
    EventModel,
    MessageModel,
    MetricModel,
    ScheduleModel,
    SqliteStorage,
    StorageError,
    TaskModel,
)
from swarm_persistence.clock import ManualClock, now, use_clock
from swarm_persistence.errors import UnreadableError
from swarm_persistence.models import Model
from swarm_persistence.schema.tables import PUBLIC_TABLES, Kind, Table
from swarm_persistence_conformance.records import (
    a_document,
    a_message,
    a_metric,
    a_schedule,
    a_task,
    after,
    an_agent,
    an_event,
    ids,
)

BROKEN = "CAST(x'22ff22' AS TEXT)"
TEXTS = (Kind.TEXT, Kind.CHOICE, Kind.JSON, Kind.OBJECT, Kind.TEXTS, Kind.TAGS, Kind.PATH)
COLUMNS = [
    (table, column.name)
    for table in PUBLIC_TABLES
    for column in table.columns
    if column.kind in TEXTS and (table.name, column.name) != ("tasks", "status")
]
MAKERS: dict[type[Model], Callable[..., Any]] = {
    AgentModel: an_agent,
    TaskModel: a_task,
    EventModel: an_event,
    MessageModel: a_message,
    MetricModel: a_metric,
    DocumentModel: a_document,
    ScheduleModel: a_schedule,
}


def damage(watch: Watch, table: str, column: str, id: str = "bad") -> None:
    """Leave a text as a damaged disk does."""
    watch.writer.execute(f'UPDATE {table} SET "{column}" = {BROKEN} WHERE id = ?', (id,))


async def first(records: AsyncGenerator[Any, None]) -> Any:
    """Return what an iterator yields first."""
    try:
        return await anext(records)
    finally:
        await records.aclose()


@pytest.mark.parametrize(("table", "column"), COLUMNS, ids=[f"{table.name}.{column}" for table, column in COLUMNS])
class TestOneOfAnyColumn:
    async def test_each_read_names_its_row(
        self, storage: SqliteStorage, watch: Watch, table: Table[Any], column: str
    ) -> None:
        make = MAKERS[table.model]
        bad, good = make("bad").id, make("good").id
        await storage.store_many([make("bad"), make("good")])
        damage(watch, table.name, column, bad)
        name = f"the stored {table.label} {'of sequence 1' if column == 'id' else repr(bad)} cannot be read back"
        repository = storage.repository(table.model)

        with pytest.raises(UnreadableError, match=f"{name}: its {column} is not UTF-8 text"):
            await repository.find_all()
        with pytest.raises(UnreadableError, match=name):
            async for _ in repository.iterate():
                pass
        async with storage.transaction():
            with pytest.raises(UnreadableError, match=name):
                await repository.find_all()
            assert await repository.find_by_id(good) is not None
        if column != "id":
            with pytest.raises(UnreadableError, match=name):
                await repository.find_by_id(bad)
        assert await repository.find_by_id(good) is not None


class TestTasks:
    COLUMNS = ("id", "task_type", "payload", "result", "error", "dependencies", "idempotency_key")

    @pytest.mark.parametrize("column", COLUMNS)
    @pytest.mark.parametrize("is_in_transaction", [False, True])
    async def test_claims_pass_over_it_and_the_others_get_done(
        self,
        storage: SqliteStorage,
        watch: Watch,
        caplog: pytest.LogCaptureFixture,
        column: str,
        is_in_transaction: bool,
    ) -> None:
        await storage.store_tasks([a_task("bad"), *(a_task(f"good-{number}") for number in range(5))])
        damage(watch, "tasks", column)

        with caplog.at_level(logging.ERROR, "swarm_persistence"):
            if is_in_transaction:
                async with storage.transaction():
                    tasks = await storage.claim_next_tasks("agent-1", limit=3)
            else:
                tasks = await storage.claim_next_tasks("agent-1", limit=3)

        assert ids(tasks) == ["good-0", "good-1", "good-2"]
        assert "cannot be read back" in caplog.text

    async def test_several_are_passed_over(self, storage: SqliteStorage, watch: Watch) -> None:
        await storage.store_tasks([a_task(str(number)) for number in range(8)])
        for number, column in ((0, "id"), (2, "payload"), (3, "task_type"), (7, "payload")):
            damage(watch, "tasks", column, str(number))

        tasks = await storage.claim_next_tasks("agent-1", limit=8)

        assert ids(tasks) == ["1", "4", "5", "6"]

    async def test_one_that_is_due_is_passed_over(self, storage: SqliteStorage, watch: Watch) -> None:
        await storage.store_tasks([a_task("bad", run_at=now()), a_task("good", run_at=now())])
        damage(watch, "tasks", "payload")

        task = await storage.claim_next_task("agent-1")

        assert task is not None
        assert task.id == "good"

    @pytest.mark.parametrize("column", ["id", "assigned_to", "payload", "error"])
    async def test_it_is_given_back_with_the_others(self, storage: SqliteStorage, watch: Watch, column: str) -> None:
        with use_clock(ManualClock(now())) as clock:
            await storage.store_tasks([a_task(id) for id in ("first", "bad", "last")])
            await storage.claim_next_tasks("agent-1", limit=3)
            damage(watch, "tasks", column)
            clock.advance(timedelta(minutes=2))

            recovery = await storage.requeue_expired_tasks()

        assert {"first", "last"} < {*recovery.requeued}
        assert watch.writer.execute("SELECT count(*) FROM tasks WHERE status = 'pending'").get == 3

    async def test_the_tasks_behind_it_fail_with_their_dependency(self, storage: SqliteStorage, watch: Watch) -> None:
        await storage.store_task(a_task("first"))
        await storage.store_tasks([a_task("bad", dependencies=["first"]), a_task("good", dependencies=["first"])])
        damage(watch, "tasks", "payload")

        await storage.cancel_task("first")

        statuses = watch.writer.execute("SELECT status FROM tasks WHERE id <> 'first'").fetchall()
        assert statuses == [("failed",), ("failed",)]


class TestOtherVerbs:
    async def test_an_agent_with_an_unreadable_id_is_marked_with_the_others(
        self, storage: SqliteStorage, watch: Watch
    ) -> None:
        long_ago = now() - timedelta(hours=1)
        await storage.store_many([an_agent(id, heartbeat=long_ago) for id in ("a", "bad", "c")])
        damage(watch, "agents", "id")

        recovery = await storage.requeue_expired_tasks()

        assert sorted(recovery.lost_agents) == ["a", "c"]
        assert watch.writer.execute("SELECT count(*) FROM agents WHERE status = 'error'").get == 3

    @pytest.mark.parametrize("column", ["id", "event_type", "data"])
    async def test_pruning_passes_over_it(self, storage: SqliteStorage, watch: Watch, column: str) -> None:
        await storage.store_many(an_event(id, timestamp=after(-9)) for id in ("a", "bad", "c"))
        damage(watch, "events", column)

        pruned = await storage.prune(now() + timedelta(days=1))

        assert pruned.events == (2 if column == "id" else 3)

    async def test_watches_and_aggregates_name_it(self, storage: SqliteStorage, watch: Watch) -> None:
        await storage.store_many([a_task("bad"), an_event("bad"), a_metric("bad"), a_message("bad")])
        for table, column in (("tasks", "payload"), ("events", "data"), ("metrics", "unit"), ("messages", "content")):
            damage(watch, table, column)

        reads: list[Awaitable[Any]] = [
            first(storage.watch_tasks()),
            first(storage.watch_events()),
            storage.read_events(),
            storage.get_aggregated_metrics("duration_ms", after(-9), after(9)),
            storage.get_unread_messages("worker-001"),
        ]
        for read in reads:
            with pytest.raises(UnreadableError, match=r"the stored [a-z]+ 'bad' cannot be read back"):
                await read

    async def test_it_is_told_with_its_cause_and_place(self, storage: SqliteStorage, watch: Watch) -> None:
        await storage.store_task(a_task("bad"))
        damage(watch, "tasks", "payload")

        with pytest.raises(UnreadableError) as caught:
            await storage.get_task("bad")

        assert (caught.value.id, caught.value.sequence) == ("bad", 1)
        assert isinstance(caught.value, StorageError)
        assert isinstance(caught.value.__cause__, UnicodeDecodeError)
