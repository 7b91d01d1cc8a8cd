"""Facts about periods: when each begins, which role may begin it, and what a read of all of them costs."""

import asyncio
import json
from typing import Any

import asyncpg

from postgres.partitions.records import AGE, old_event
from postgres.periods import begun_periods, let_time_pass, look, partitions_of, pass_a_period
from postgres.servers import Server
from swarm_persistence import EventModel, MetricModel, PostgresStorage
from swarm_persistence.clock import now
from swarm_persistence.storage import Pruned
from swarm_persistence_conformance.records import a_metric, an_event


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
