"""Facts about pruning in partitioned history: partitions are dropped beside writers, watchers and backups."""

import asyncio
from contextlib import aclosing

import asyncpg
import pytest

from postgres.partitions.records import AGE, OLD, interrupted_at, old_event, store_an_old_period
from postgres.periods import partitions_of, pass_a_period
from swarm_persistence import EventModel, MessageModel, MetricModel, PostgresStorage
from swarm_persistence.clock import now
from swarm_persistence.engines.reads import Select
from swarm_persistence.engines.sql.postgres.part_dropping import PartDropping
from swarm_persistence.query.query import Query
from swarm_persistence.schema.tables import EVENTS
from swarm_persistence.storage import Pruned
from swarm_persistence_conformance.records import a_message, a_metric, an_event, ids


class TestPruning:
    async def test_partitions_whose_rows_are_all_old_are_dropped_and_counted(
        self, storage: PostgresStorage, admin: asyncpg.Connection
    ) -> None:
        for period in range(2):
            await storage.store_many([old_event(f"event-{period}-{n}") for n in range(7)])
            await storage.store_many([a_metric(f"metric-{period}-{n}", timestamp=now() - OLD) for n in range(5)])
            await pass_a_period(storage, admin)
        await storage.store_many([old_event("border"), EventModel(id="young", event_type="e")])

        assert await storage.prune(AGE) == Pruned(events=15, metrics=10)

        assert ids(await storage.read_events()) == ["young"]
        assert await partitions_of(storage, admin, "events") == ["events_p2", "events_p3"]
        assert await partitions_of(storage, admin, "metrics") == ["metrics_p2", "metrics_p3"]
        assert await storage.prune(AGE) == Pruned()

    async def test_a_partition_that_holds_a_young_row_stays_without_its_old_ones(
        self, storage: PostgresStorage, admin: asyncpg.Connection
    ) -> None:
        await storage.store_many([old_event("old"), EventModel(id="young", event_type="e"), old_event("older")])
        await pass_a_period(storage, admin)

        assert await storage.prune(AGE) == Pruned(events=2)
        assert ids(await storage.read_events()) == ["young"]
        assert "events_p0" in await partitions_of(storage, admin, "events")

    async def test_an_unread_message_keeps_its_partition(
        self, storage: PostgresStorage, admin: asyncpg.Connection
    ) -> None:
        await storage.store_many([a_message(id, timestamp=now() - OLD) for id in "abc"])
        await pass_a_period(storage, admin)
        await storage.mark_message_read("a")
        await storage.acknowledge_message("c")

        assert await storage.prune(AGE) == Pruned(messages=2)
        assert await storage.repository(MessageModel).find_by_id("b") is not None
        await storage.mark_message_read("b")
        assert await storage.prune(AGE) == Pruned(messages=1)
        assert await partitions_of(storage, admin, "messages") == ["messages_p1", "messages_p2"]

    async def test_the_place_of_the_last_event_is_known_after_its_partition_is_gone(
        self, storage: PostgresStorage, admin: asyncpg.Connection
    ) -> None:
        last = await storage.append_events([old_event("a"), old_event("b")])
        await pass_a_period(storage, admin)
        await storage.prune(AGE)

        assert await storage.append_events([], expected_sequence=last) == last
        assert await storage.append_events([an_event("c")], expected_sequence=last) > last

    async def test_a_key_of_a_dropped_partition_is_free_again(
        self, storage: PostgresStorage, admin: asyncpg.Connection
    ) -> None:
        await storage.store_event(old_event("a", idempotency_key="k"))
        await pass_a_period(storage, admin)
        await storage.prune(AGE)

        assert (await storage.store_event(an_event("a", idempotency_key="k"))).id == "a"

    async def test_what_is_pruned_in_a_transaction_comes_back_with_its_rollback(
        self, storage: PostgresStorage, admin: asyncpg.Connection
    ) -> None:
        await storage.store_many([old_event(f"event-{n}") for n in range(3)])
        await pass_a_period(storage, admin)

        transaction = await storage.begin_transaction()
        assert await storage.prune(AGE) == Pruned(events=3)
        await transaction.rollback()

        assert len(await storage.read_events()) == 3

    async def test_many_may_prune_at_once(self, url: str, storage: PostgresStorage, admin: asyncpg.Connection) -> None:
        for period in range(3):
            await storage.store_many([old_event(f"event-{period}-{n}") for n in range(10)])
            await pass_a_period(storage, admin)
        async with await PostgresStorage.open(url) as other:
            counts = await asyncio.gather(*(one.prune(AGE) for one in (storage, other, storage, other)))

            assert sum(pruned.events for pruned in counts) + (await other.prune(AGE)).events == 30
        assert await storage.read_events() == []

    async def test_what_was_dropped_before_a_deadlock_is_counted(
        self, storage: PostgresStorage, admin: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for period in range(3):
            await storage.store_many([old_event(f"event-{period}-{n}") for n in range(10)])
            await pass_a_period(storage, admin)
        drop = PartDropping._drop
        attempts: list[str] = []

        async def drop_the_third_after_a_deadlock(self: PartDropping, name: str) -> int:
            attempts.append(name)
            if attempts.count(name) == 1 and name == "events_p2":
                raise asyncpg.DeadlockDetectedError("deadlock detected")
            return await drop(self, name)

        monkeypatch.setattr(PartDropping, "_drop", drop_the_third_after_a_deadlock)

        assert (await storage.prune(AGE)).events == 30
        assert attempts.count("events_p2") == 2

    async def test_writers_and_watchers_go_on_beside_it(
        self, storage: PostgresStorage, admin: asyncpg.Connection
    ) -> None:
        for period in range(3):
            await storage.store_many([old_event(f"old-{period}-{n}") for n in range(50)])
            await pass_a_period(storage, admin)
        start = (await storage.read_events())[-1].sequence or 0
        stored: list[str] = []
        seen: list[str] = []
        has_ended = asyncio.Event()

        async def write() -> None:
            while not has_ended.is_set():
                stored.append((await storage.store_event(EventModel.new("young", None))).id)

        async def watch() -> None:
            async with aclosing(storage.watch_events(start)) as events:
                async for event in events:
                    seen.append(event.id)
                    if event.event_type == "last":
                        return

        writing, watching = asyncio.create_task(write()), asyncio.create_task(watch())
        pruned = await storage.prune(AGE)
        has_ended.set()
        await writing
        await storage.store_event(EventModel.new("last", None))
        async with asyncio.timeout(20):
            await watching

        assert pruned == Pruned(events=150)
        assert seen[:-1] == stored

    async def test_what_is_changed_while_its_partition_is_detached_stays_and_so_do_its_neighbours(
        self, storage: PostgresStorage, admin: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await storage.store_many([a_metric(id, timestamp=now() - OLD) for id in "ab"])
        await pass_a_period(storage, admin)
        detach = PartDropping._detach

        async def change_meanwhile(self: PartDropping, part: str, **found: bool) -> bool:
            is_detached = await detach(self, part, **found)
            if is_detached:
                await admin.execute(f"UPDATE {part} SET timestamp = now() WHERE id = 'b'")
            return is_detached

        monkeypatch.setattr(PartDropping, "_detach", change_meanwhile)

        assert await storage.prune(AGE) == Pruned(metrics=1)
        assert ids(await storage.repository(MetricModel).find_all()) == ["b"]
        assert "metrics_p0" in await partitions_of(storage, admin, "metrics")

    async def test_the_next_one_finishes_a_drop_that_was_interrupted(
        self, storage: PostgresStorage, admin: asyncpg.Connection
    ) -> None:
        await store_an_old_period(storage, admin)
        with interrupted_at(PartDropping, "_drop_here"):
            await storage.prune(AGE)

        assert await storage.prune(AGE) == Pruned(events=3)
        left = "SELECT count(*) FROM pg_class WHERE relname = 'events_p0' AND relnamespace = $1::text::regnamespace"
        assert await admin.fetchval(left, storage.schema_name) == 0

    async def test_a_backup_that_has_begun_holds_what_is_dropped_meanwhile(
        self, url: str, storage: PostgresStorage, admin: asyncpg.Connection
    ) -> None:
        await store_an_old_period(storage, admin)
        snapshot = await storage.engine.snapshot()
        async with await PostgresStorage.builder().connection_timeout(0.3).build(url) as impatient:
            # It waits no longer for the reader than for any other lock.
            assert await impatient.prune(AGE) == Pruned()
            assert await impatient.read_events() == []
            assert ids(await snapshot.read(Select(Query(EVENTS)))) == ["a", "b", "c"]
            await snapshot.close()

            assert await impatient.prune(AGE) == Pruned(events=3)
