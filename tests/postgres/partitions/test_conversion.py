"""Facts about partitioning a filled schema and undoing it, beside its users and after interruptions."""

import asyncio

import asyncpg
import pytest

from postgres.partitions.records import AGE, interrupted_at, store_an_old_period
from postgres.periods import partitions_of, pass_a_period
from postgres.servers import Server
from swarm_persistence import (
    ConflictError,
    EventModel,
    MessageModel,
    MetricModel,
    MigrationError,
    OtherError,
    PostgresStorage,
)
from swarm_persistence.clock import now
from swarm_persistence.engines.sql.postgres.part_dropping import PartDropping
from swarm_persistence.engines.sql.postgres.unpartitioning import Unpartitioning
from swarm_persistence.schema.tables import EVENTS
from swarm_persistence.storage import Pruned
from swarm_persistence_conformance.records import a_message, a_metric, an_event, everything_in, ids

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
        self, url: str, storage: PostgresStorage, admin: asyncpg.Connection
    ) -> None:
        await fill(storage)
        before = await everything_in(storage)
        with interrupted_at(Unpartitioning, "_copy_noted"):
            await storage.partition(None)
        assert await everything_in(storage) == before
        await storage.store_event(an_event("between"))
        await storage.repository(EventModel).delete("between")

        await storage.partition(None)

        assert await storage.partitions() == {}
        assert await everything_in(storage) == before

    async def test_an_interrupted_conversion_may_be_given_up(
        self, storage: PostgresStorage, admin: asyncpg.Connection
    ) -> None:
        await store_an_old_period(storage, admin)
        with interrupted_at(Unpartitioning, "_copy_noted"):
            await storage.partition(None)

        await storage.partition("month")

        left = "SELECT count(*) FROM pg_class WHERE relname ~ '_whole' AND relnamespace = $1::text::regnamespace"
        assert await admin.fetchval(left, storage.schema_name) == 0
        assert await storage.prune(AGE) == Pruned(events=3)
        assert "events_p0" not in await partitions_of(storage, admin, "events")

    async def test_what_is_pruned_while_a_table_is_made_whole_does_not_come_back(
        self, url: str, storage: PostgresStorage, admin: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await store_an_old_period(storage, admin)
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
        self, storage: PostgresStorage, admin: asyncpg.Connection
    ) -> None:
        await store_an_old_period(storage, admin)
        with interrupted_at(PartDropping, "_drop_here"):
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
        await store_an_old_period(storage, admin)
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
