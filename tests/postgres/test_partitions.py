"""Facts about history that is partitioned by periods of time: on the newest server, and on the system's older one."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from datetime import timedelta
from tempfile import TemporaryDirectory
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from postgres.periods import begun_periods, let_time_pass, look, partitions_of, pass_a_period
from postgres.servers import PASSWORD, Server, embedded_programs, new_server, system_programs
from swarm_persistence import (
    ConflictError,
    EventModel,
    MessageModel,
    MetricModel,
    MigrationError,
    OtherError,
    PostgresStorage,
)
from swarm_persistence.cli.main import main
from swarm_persistence.cli.server_examination import examine_server
from swarm_persistence.clock import now
from swarm_persistence.engines.reads import Select
from swarm_persistence.engines.sql.postgres.part_dropping import PartDropping
from swarm_persistence.engines.sql.postgres.unpartitioning import Unpartitioning
from swarm_persistence.query.query import Query
from swarm_persistence.schema.tables import EVENTS
from swarm_persistence.storage import Pruned
from swarm_persistence.transfer.restoring import restore
from swarm_persistence_conformance.records import a_message, a_metric, an_event, everything_in, ids

_MAKERS: dict[type[Any], Callable[..., Any]] = {
    EventModel: an_event,
    MessageModel: a_message,
    MetricModel: a_metric,
}
OLD = timedelta(days=90)
AGE = timedelta(days=30)


@pytest.fixture(scope="module", params=[embedded_programs, system_programs], ids=["newest", "system's"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """Give each of the servers."""
    with new_server(request.param()) as server:
        yield server


@pytest_asyncio.fixture
async def storage(url: str) -> AsyncIterator[PostgresStorage]:
    """Give a fresh storage whose history is partitioned by month."""
    async with await PostgresStorage.builder().partition_by("month").build(url) as storage:
        yield storage


def old_event(id: str, **fields: Any) -> EventModel:
    """Return an event of three months ago."""
    return EventModel(id=id, event_type="old", timestamp=now() - OLD, **fields)


class TestIdentity:
    """Ids and keys are those of one record, in all periods."""

    @pytest.mark.parametrize("model", _MAKERS)
    async def test_an_id_of_an_earlier_period_is_refused(
        self, storage: PostgresStorage, admin: asyncpg.Connection, model: type[Any]
    ) -> None:
        make = _MAKERS[model]
        records = storage.repository(model)
        for known in ("m", "a", "z"):
            await records.save(make(known))
            await pass_a_period(storage, admin)

        for known in ("a", "m", "z"):
            with pytest.raises(ConflictError, match=f"{known}.*exists already"):
                await storage.store_many([make("new"), make(known)])

        assert await records.count() == 3

    async def test_of_many_stores_at_once_only_that_of_a_known_id_fails(
        self, storage: PostgresStorage, admin: asyncpg.Connection
    ) -> None:
        await storage.store_event(an_event("known"))
        await pass_a_period(storage, admin)

        results = await asyncio.gather(
            *(storage.store_event(an_event(id)) for id in ("a", "b", "known", "z")), return_exceptions=True
        )

        assert [type(result) for result in results] == [EventModel, EventModel, ConflictError, EventModel]

    async def test_an_event_of_a_key_of_an_earlier_period_is_not_stored_again(
        self, storage: PostgresStorage, admin: asyncpg.Connection
    ) -> None:
        first = await storage.store_event(an_event("first", idempotency_key="k"))
        await pass_a_period(storage, admin)

        again = await storage.store_event(an_event("second", idempotency_key="k"))
        async with storage.transaction():
            within = await storage.store_event(an_event("third", idempotency_key="k"))

        assert (again, within) == (first, first)
        assert ids(await storage.read_events()) == ["first"]

    async def test_a_new_key_does_not_hide_a_known_id(
        self, storage: PostgresStorage, admin: asyncpg.Connection
    ) -> None:
        await storage.store_event(an_event("known", idempotency_key="k"))
        with pytest.raises(ConflictError, match="known"):
            await storage.store_event(an_event("known", idempotency_key="other"))
        await pass_a_period(storage, admin)

        with pytest.raises(ConflictError, match="known"):
            await storage.store_event(an_event("known", idempotency_key="other"))

    @pytest.mark.parametrize("model", _MAKERS)
    async def test_a_saved_record_replaces_that_of_an_earlier_period(
        self, storage: PostgresStorage, admin: asyncpg.Connection, model: type[Any]
    ) -> None:
        records = storage.repository(model)
        record = _MAKERS[model]("known")
        await records.save(record)
        await pass_a_period(storage, admin)
        record.timestamp = now() - OLD

        await records.save(record)

        (stored,) = await records.find_all()
        assert stored.timestamp == record.timestamp

    async def test_two_processes_store_each_id_once_while_periods_pass(
        self, url: str, storage: PostgresStorage, admin: asyncpg.Connection
    ) -> None:
        """Each of two storages stores every id, in its own order, and both see that the period is over."""
        names = [f"event-{number:03}" for number in range(300)]
        refused = 0

        async def store_all(one: PostgresStorage, names: list[str]) -> None:
            nonlocal refused
            for id in names:
                try:
                    await one.store_event(an_event(id))
                except ConflictError:
                    refused += 1

        async with await PostgresStorage.open(url) as other:
            working = asyncio.gather(store_all(storage, names), store_all(other, names[::-1]))
            for _ in range(3):
                await let_time_pass(storage, admin)
                looks = [one._engine.on_a_connection(one._engine.periods.check) for one in (storage, other)]
                await asyncio.gather(*looks)
                await look(storage, admin)
            await working

        assert refused == len(names)
        assert sorted(ids(await storage.read_events(limit=1000))) == names
        assert await begun_periods(storage, admin) == [4, 4, 4]


class TestPeriods:
    async def test_what_is_stored_later_lies_in_the_next_partition(
        self, storage: PostgresStorage, admin: asyncpg.Connection
    ) -> None:
        before = await storage.store_event(an_event("before"))
        await pass_a_period(storage, admin)
        after = await storage.store_event(an_event("after"))

        homes = await admin.fetch(
            f"SELECT tableoid::regclass::text FROM {storage.schema_name}.events ORDER BY sequence"
        )
        assert [row[0].partition(".")[2] for row in homes] == ["events_p0", "events_p1"]
        assert (before.sequence or 0) < (after.sequence or 0)
        assert await partitions_of(storage, admin, "events") == ["events_p0", "events_p1", "events_p2"]

    async def test_a_period_ends_at_midnight_before_a_month_s_first_day(
        self, storage: PostgresStorage, admin: asyncpg.Connection
    ) -> None:
        begun = "UPDATE {}.partitions SET begun_at = '2026-02-28 23:59:59.5+00' WHERE lower = 0"
        await admin.execute(begun.format(storage.schema_name))

        ends = await admin.fetchval(f"SELECT max(ends_at) FROM {storage.schema_name}.current_periods()")

        assert ends.isoformat() == "2026-03-01T00:00:00+00:00"

    async def test_a_writer_with_an_open_transaction_puts_the_next_period_off_and_fails_nothing(
        self, url: str, storage: PostgresStorage, admin: asyncpg.Connection
    ) -> None:
        async with await PostgresStorage.open(url) as other:
            await let_time_pass(storage, admin)
            async with storage.transaction():
                within = await storage.store_event(an_event("within"))
                await other._engine.on_a_connection(other._engine.periods.check)
                assert await begun_periods(storage, admin) == [1, 2, 2]
                await other.store_metric(a_metric("beside"))
            await look(other, admin)
            later = await other.store_event(an_event("later"))

        assert (later.sequence or 0) - (within.sequence or 0) > 10**10
        assert await storage.repository(MetricModel).find_by_id("beside") is not None

    async def test_a_process_that_writes_begins_the_period(
        self, storage: PostgresStorage, admin: asyncpg.Connection
    ) -> None:
        await storage.store_event(an_event("before"))
        await let_time_pass(storage, admin)
        storage._engine.periods._next_check = 0.0

        await storage.store_event(an_event("before, too"))
        async with asyncio.timeout(20):
            while ((await storage.store_event(EventModel.new("probe", None))).sequence or 0) < 10**10:
                pass

    async def test_a_role_with_few_rights_makes_and_begins_partitions(
        self, server: Server, storage: PostgresStorage, admin: asyncpg.Connection
    ) -> None:
        schema = storage.schema_name
        role = f"worker_{schema}"
        await admin.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'x'; GRANT USAGE ON SCHEMA {schema} TO {role}")
        await admin.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {role}")
        await storage.store_event(old_event("old"))
        async with await PostgresStorage.open(server.url(user=role, password="x", schema=schema)) as worker:
            for number in range(3):
                await pass_a_period(worker, admin)
                await worker.store_event(an_event(f"event-{number}"))

            assert len(await partitions_of(storage, admin, "events")) == 5
            # It may not drop a table: it deletes the rows.
            assert await worker.prune(AGE) == Pruned(events=4)
            assert len(await partitions_of(storage, admin, "events")) == 5


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
        self, storage: PostgresStorage, admin: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await storage.store_many([old_event(id) for id in "abc"])
        await pass_a_period(storage, admin)
        with monkeypatch.context() as patch:
            patch.setattr(PartDropping, "_drop_here", _fail)
            with pytest.raises(ZeroDivisionError):
                await storage.prune(AGE)

        assert await storage.prune(AGE) == Pruned(events=3)
        left = "SELECT count(*) FROM pg_class WHERE relname = 'events_p0' AND relnamespace = $1::text::regnamespace"
        assert await admin.fetchval(left, storage.schema_name) == 0

    async def test_a_backup_that_has_begun_holds_what_is_dropped_meanwhile(
        self, url: str, storage: PostgresStorage, admin: asyncpg.Connection
    ) -> None:
        await storage.store_many([old_event(id) for id in "abc"])
        await pass_a_period(storage, admin)
        snapshot = await storage.engine.snapshot()
        async with await PostgresStorage.builder().connection_timeout(0.3).build(url) as impatient:
            # It waits no longer for the reader than for any other lock.
            assert await impatient.prune(AGE) == Pruned()
            assert await impatient.read_events() == []
            assert ids(await snapshot.read(Select(Query(EVENTS)))) == ["a", "b", "c"]
            await snapshot.close()

            assert await impatient.prune(AGE) == Pruned(events=3)


async def _fail(*arguments: object) -> int:
    return 1 // 0


async def _plan(admin: asyncpg.Connection, text: str, *values: object) -> dict[str, Any]:
    ((plan,),) = await admin.fetch(f"EXPLAIN (ANALYZE, FORMAT JSON) {text}", *values)
    found: dict[str, Any] = json.loads(plan)[0]["Plan"]
    return found


def _rows_read(plan: dict[str, Any]) -> float:
    """Return how many rows the leaves of a plan have given."""
    parts = plan.get("Plans", ())
    return sum(map(_rows_read, parts)) if parts else float(plan["Actual Rows"]) * plan["Actual Loops"]


class TestPlans:
    async def test_a_limited_read_in_order_reads_a_few_rows_of_each_partition(
        self, storage: PostgresStorage, admin: asyncpg.Connection
    ) -> None:
        for period in range(4):
            await storage.store_many(
                [an_event(f"{period}-{n}", event_type=f"type-{n % 5}", timestamp=now()) for n in range(2000)]
            )
            await pass_a_period(storage, admin)
        await admin.execute(f"VACUUM ANALYZE {storage.schema_name}.events")
        events = f"{storage.schema_name}.events"

        newest = await _plan(
            admin,
            f"SELECT * FROM {events} WHERE left(event_type, 200) = 'type-1' AND event_type = 'type-1' "
            "ORDER BY timestamp DESC NULLS LAST, sequence LIMIT 10",
        )
        following = await _plan(
            admin, f"SELECT * FROM {events} WHERE sequence > 100000000100 ORDER BY sequence LIMIT 100"
        )

        assert _rows_read(newest) < 100
        assert _rows_read(following) == 100


_SHAPE = """
SELECT relname, relkind::text, reloptions::text, relacl::text FROM pg_class
WHERE relnamespace = $1::text::regnamespace AND relkind IN ('r', 'p', 'S')
UNION ALL
SELECT indexname, indexdef, NULL, NULL FROM pg_indexes WHERE schemaname = $1
UNION ALL
SELECT conname, pg_get_constraintdef(oid), NULL, NULL FROM pg_constraint
WHERE connamespace = $1::text::regnamespace AND contype <> 'n'
UNION ALL
SELECT tgname, pg_get_triggerdef(pg_trigger.oid), NULL, NULL
FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid
WHERE relnamespace = $1::text::regnamespace AND NOT tgisinternal
UNION ALL
SELECT proname, NULL, NULL, proacl::text FROM pg_proc WHERE pronamespace = $1::text::regnamespace
ORDER BY 1, 2, 3, 4
"""


async def fill(storage: PostgresStorage) -> None:
    """Store some thousands of records, and delete the last event."""
    await storage.store_many([an_event(f"event-{n}", idempotency_key=f"key-{n}") for n in range(100)])
    await storage.store_many([an_event(f"event-{n}") for n in range(100, 3000)])
    await storage.store_many([a_message(f"message-{n}") for n in range(2000)])
    await storage.store_many([a_metric(f"metric-{n}") for n in range(1000)])
    await storage.repository(EventModel).delete("event-2999")


class TestConversion:
    async def test_a_filled_schema_is_partitioned_and_made_whole_again_beside_its_users(
        self, url: str, admin: asyncpg.Connection
    ) -> None:
        async with await PostgresStorage.open(url) as storage, await PostgresStorage.open(url) as other:
            await fill(storage)
            schema = storage.schema_name
            role = f"reader_of_{schema}"
            await admin.execute(f"CREATE ROLE {role}; GRANT SELECT ON {schema}.events TO {role}")
            await admin.execute(f"GRANT UPDATE ON SEQUENCE {schema}.events_sequence_seq TO {role}")
            shape = await admin.fetch(_SHAPE, schema)
            stored: list[EventModel] = []
            has_ended = asyncio.Event()

            async def write() -> None:
                while not has_ended.is_set():
                    event = await other.store_event(EventModel.new("young", len(stored)))
                    stored.append(await other.store_event(EventModel.new("young", len(stored))))
                    await other.mark_message_read(f"message-{len(stored) % 2000}")
                    await other.repository(EventModel).delete(event.id)

            writing = asyncio.create_task(write())
            await storage.partition("week")
            assert await storage.partitions() == {"events": "week", "messages": "week", "metrics": "week"}
            for _ in range(2):
                await pass_a_period(storage, admin)
            await storage.partition("month")
            assert await storage.partitions() == {"events": "month", "messages": "month", "metrics": "month"}
            with pytest.raises(ConflictError):
                await storage.store_event(an_event("event-0"))
            assert await other.store_event(an_event("new", idempotency_key="key-1")) != an_event("new")
            await storage.partition(None)
            has_ended.set()
            await writing

            assert await storage.partitions() == {}
            assert await admin.fetch(_SHAPE, schema) == shape
            events = await storage.read_events(limit=10_000)
            assert ids(events) == [f"event-{n}" for n in range(2999)] + ids(stored)
            assert [event.sequence for event in events[2999:]] == [event.sequence for event in stored]
            assert await storage.repository(MessageModel).count() == 2000
            assert len(await storage.get_messages_between("sender", "receiver", 10_000)) in (0, 2000)
            assert await storage.repository(MetricModel).count() == 1000
            with pytest.raises(ConflictError):
                await storage.store_event(an_event("event-0"))
            last = events[-1].sequence or 0
            assert ((await storage.store_event(an_event("last"))).sequence or 0) > last

    async def test_an_interrupted_conversion_is_begun_anew(
        self, url: str, storage: PostgresStorage, admin: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await fill(storage)
        before = await everything_in(storage)
        with monkeypatch.context() as patch:
            patch.setattr(Unpartitioning, "_copy_noted", _fail)
            with pytest.raises(ZeroDivisionError):
                await storage.partition(None)
        assert await everything_in(storage) == before
        await storage.store_event(an_event("between"))
        await storage.repository(EventModel).delete("between")

        await storage.partition(None)

        assert await storage.partitions() == {}
        assert await everything_in(storage) == before

    async def test_an_interrupted_conversion_may_be_given_up(
        self, storage: PostgresStorage, admin: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await storage.store_many([old_event(id) for id in "abc"])
        await pass_a_period(storage, admin)
        with monkeypatch.context() as patch:
            patch.setattr(Unpartitioning, "_copy_noted", _fail)
            with pytest.raises(ZeroDivisionError):
                await storage.partition(None)

        await storage.partition("month")

        left = "SELECT count(*) FROM pg_class WHERE relname ~ '_whole' AND relnamespace = $1::text::regnamespace"
        assert await admin.fetchval(left, storage.schema_name) == 0
        assert await storage.prune(AGE) == Pruned(events=3)
        assert "events_p0" not in await partitions_of(storage, admin, "events")

    async def test_what_is_pruned_while_a_table_is_made_whole_does_not_come_back(
        self, url: str, storage: PostgresStorage, admin: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await storage.store_many([old_event(id) for id in "abc"])
        await pass_a_period(storage, admin)
        await storage.store_event(an_event("young", timestamp=now()))
        copy = Unpartitioning._copy_noted
        pruned: list[Pruned] = []

        async def prune_meanwhile(self: Unpartitioning) -> int:
            if not pruned and self._name == "events":
                pruned.append(await other.prune(AGE))
            return await copy(self)

        async with await PostgresStorage.open(url) as other:
            monkeypatch.setattr(Unpartitioning, "_copy_noted", prune_meanwhile)
            await storage.partition(None)

        assert pruned == [Pruned(events=3)]
        assert ids(await storage.read_events()) == ["young"]

    async def test_partitions_that_an_interrupted_drop_left_are_made_whole_again_too(
        self, storage: PostgresStorage, admin: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await storage.store_many([old_event(id) for id in "abc"])
        await pass_a_period(storage, admin)
        with monkeypatch.context() as patch:
            patch.setattr(PartDropping, "_drop_here", _fail)
            with pytest.raises(ZeroDivisionError):
                await storage.prune(AGE)

        await storage.partition(None)

        assert ids(await storage.read_events()) == ["a", "b", "c"]
        await storage.partition("month")
        await pass_a_period(storage, admin)
        assert await storage.prune(AGE) == Pruned(events=3)

    @pytest.mark.parametrize("goes_on", [True, False])
    async def test_a_partition_that_is_detached_while_its_table_is_made_whole_keeps_its_rows(
        self, storage: PostgresStorage, admin: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch, *, goes_on: bool
    ) -> None:
        """The process that drops it has looked before the change began, and goes on, or does not."""
        await storage.store_many([old_event(id) for id in "abc"])
        await pass_a_period(storage, admin)
        copy_all = Unpartitioning._copy_all

        async def detach_before(self: Unpartitioning) -> None:
            if self._name == "events":
                events = f"{storage.schema_name}.events"
                await admin.execute(f"ALTER TABLE {events} DETACH PARTITION {events}_p0 CONCURRENTLY")
            await copy_all(self)
            if self._name == "events" and goes_on:
                compiler = storage._engine.compiler.sql
                dropping = PartDropping(self._connection, compiler, EVENTS, [()])
                assert await dropping._drop("events_p0") == 0

        monkeypatch.setattr(Unpartitioning, "_copy_all", detach_before)

        await storage.partition(None)

        assert ids(await storage.read_events()) == ["a", "b", "c"]

    async def test_a_new_schema_is_partitioned_by_what_the_url_says(self, url: str) -> None:
        async with await PostgresStorage.open(f"{url}&partition_by=day") as storage:
            assert {*(await storage.partitions()).values()} == {"day"}
        async with await PostgresStorage.open(f"{url}&partition_by=day") as storage:
            await storage.store_event(an_event("e"))
        with pytest.raises(MigrationError, match="swarm-persistence partition --by week"):
            await PostgresStorage.open(f"{url}&partition_by=week")

    async def test_a_filled_schema_is_not_partitioned_by_an_opening(self, url: str) -> None:
        async with await PostgresStorage.open(url) as storage:
            await storage.store_metric(a_metric("m"))

        with pytest.raises(MigrationError, match="swarm-persistence partition --by month"):
            await PostgresStorage.open(f"{url}&partition_by=month")

        async with await PostgresStorage.open(url) as storage:
            assert await storage.partitions() == {}

    async def test_an_unknown_period_is_refused(self, url: str, storage: PostgresStorage) -> None:
        with pytest.raises(OtherError, match=r"'year'.*partition_by"):
            await PostgresStorage.open(f"{url}&partition_by=year")
        with pytest.raises(OtherError, match=r"period.*'year'.*expected.*day"):
            await storage.partition("year")  # type: ignore[arg-type]

    async def test_a_role_that_owns_nothing_is_told_who_can(
        self, server: Server, storage: PostgresStorage, admin: asyncpg.Connection
    ) -> None:
        schema, role = storage.schema_name, f"worker_{storage.schema_name}"
        await admin.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'x'; GRANT USAGE ON SCHEMA {schema} TO {role}")
        await admin.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {role}")
        async with await PostgresStorage.open(server.url(user=role, password="x", schema=schema)) as worker:
            with pytest.raises(MigrationError, match="role that owns"):
                await worker.partition(None)

        assert await storage.partitions() != {}

    async def test_a_partitioned_schema_does_not_go_back_before_partitions(self, storage: PostgresStorage) -> None:
        with pytest.raises(MigrationError, match="partition --by none"):
            await storage.migrate_to(9)

        await storage.partition(None)
        await storage.migrate_to(9)

    async def test_a_dump_brings_the_partitions_along(
        self, server: Server, storage: PostgresStorage, admin: asyncpg.Connection
    ) -> None:
        await fill(storage)
        await pass_a_period(storage, admin)
        await storage.store_event(an_event("later"))
        before = await everything_in(storage)
        schema = storage.schema_name
        place = ("-h", str(server.folder), "-p", str(server.port), "-U", "swarm")
        dump = server.run("pg_dump", *place, "-n", schema, "postgres")
        await admin.execute(f"CREATE DATABASE restored_{schema}")
        (server.folder / "dump").write_text(dump)
        file = str(server.folder / "dump")
        server.run("psql", "-v", "ON_ERROR_STOP=1", "-q", *place, "-f", file, f"restored_{schema}")

        url = server.url(database=f"restored_{schema}", schema=schema)
        async with await PostgresStorage.open(url) as restored:
            assert await everything_in(restored) == before
            with pytest.raises(ConflictError):
                await restored.store_event(an_event("event-7"))
            await restored.store_event(an_event("new"))


class TestTools:
    async def test_a_backup_of_many_periods_is_restored_to_a_partitioned_schema_and_goes_on_there(
        self, server: Server, storage: PostgresStorage, admin: asyncpg.Connection
    ) -> None:
        await storage.store_many([an_event(f"event-{n}") for n in range(3)])
        for _ in range(4):  # of which nothing is stored in the last three
            await pass_a_period(storage, admin)
        last = await storage.store_event(an_event("gone"))
        await storage.repository(EventModel).delete("gone")
        with TemporaryDirectory() as folder:
            await storage.backup(f"{folder}/backup")
            url = server.url(schema=f"restored_{storage.schema_name}", partition_by="month")
            await restore(f"{folder}/backup", url)

        async with await PostgresStorage.open(url) as restored:
            assert await restored.read_events() == await storage.read_events()
            with pytest.raises(ConflictError):
                await restored.store_event(an_event("event-1"))
            assert ((await restored.store_event(an_event("new"))).sequence or 0) > (last.sequence or 0)

    async def test_what_was_restored_can_be_gone_on_with_at_once(
        self, server: Server, storage: PostgresStorage, admin: asyncpg.Connection
    ) -> None:
        for _ in range(4):
            await pass_a_period(storage, admin)
        last = await storage.store_event(an_event("gone"))
        await storage.repository(EventModel).delete("gone")
        url = server.url(schema=f"beside_{storage.schema_name}", partition_by="month")
        async with await PostgresStorage.open(url) as other:
            with TemporaryDirectory() as folder:
                await storage.backup(f"{folder}/backup")
                await restore(f"{folder}/backup", other)

            assert ((await other.store_event(an_event("new"))).sequence or 0) > (last.sequence or 0)

    async def test_doctor_finds_each_partition_s_unique_indexes_and_one_that_is_missing(
        self, url: str, storage: PostgresStorage, admin: asyncpg.Connection
    ) -> None:
        async def indexes() -> list[str]:
            findings = await examine_server(url, is_repairing=False)
            return [finding.level.value for finding in findings if finding.check == "indexes"]

        assert await indexes() == ["ok"]
        await admin.execute(f"DROP INDEX {storage.schema_name}.events_p1_by_key")
        assert await indexes() == ["wrong"]


class TestCommand:
    def test_it_partitions_a_schema_and_makes_it_whole_again(
        self, server: Server, schema: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        url = server.url(schema=schema)
        assert main(["migrate", url]) == 0
        capsys.readouterr()

        assert main(["partition", url, "--by", "day"]) == 0
        assert capsys.readouterr().out.splitlines()[0] == "events: partitioned by day"
        assert main(["partition", url, "--by", "day"]) == 0
        assert capsys.readouterr().out.splitlines()[0] == "events: partitioned by day, as before"
        assert main(["partition", url, "--by", "week", "--json"]) == 0
        told = json.loads(capsys.readouterr().out)
        assert PASSWORD not in told["database"]
        assert told["partitions"] == dict.fromkeys(("events", "messages", "metrics"), "week")
        assert main(["partition", url, "--by", "none"]) == 0
        assert capsys.readouterr().out.splitlines()[0] == "events: not partitioned"

    def test_it_refuses_a_schema_that_is_not_there_and_any_other_database(
        self, server: Server, schema: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["partition", server.url(schema=schema), "--by", "day"]) == 1
        assert "there is no swarm" in capsys.readouterr().err
        assert main(["partition", "swarm.db", "--by", "day"]) == 2
        assert "no PostgreSQL database" in capsys.readouterr().err
