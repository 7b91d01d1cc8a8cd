"""Facts about steps on partitioned history, of which PostgreSQL builds and drops no index concurrently."""

import asyncio

import asyncpg
import pytest
import pytest_asyncio

from postgres.ground import Ground
from postgres.periods import partitions_of, pass_a_period
from swarm_persistence import MigrationError
from swarm_persistence.engines.sql.postgres.connection import Connection
from swarm_persistence.engines.sql.postgres.migrations import LATEST
from swarm_persistence.engines.sql.postgres.migrations.migration import CreateIndex, DropIndex, PostgresMigration
from swarm_persistence_conformance.records import a_metric, an_event

TAGGED = PostgresMigration(
    LATEST + 1,
    "tags",
    (
        CreateIndex("metrics_by_tag", "ON {schema}.metrics (agent_id, sequence)", is_unique=True),
        CreateIndex("events_by_tag", "ON {schema}.events (left(event_type, 100), sequence)"),
    ),
    (DropIndex("events_by_tag"), DropIndex("metrics_by_tag")),
    opens_from=2,
    is_required=False,
)
"""A step that builds indexes for tables that may be partitioned."""


class TestPartitionedTables:
    """PostgreSQL builds and drops no index of a partitioned table concurrently."""

    @pytest_asyncio.fixture
    async def parts(self, ground: Ground) -> Ground:
        """Give a schema of three periods, two of which hold something."""
        await ground.storage.partition("month")
        for number in range(2):
            await ground.storage.store_event(an_event(f"event-{number}"))
            await ground.storage.store_metric(a_metric(f"metric-{number}"))
            await pass_a_period(ground.storage, ground.admin)
        return ground

    async def valid(self, ground: Ground) -> list[str]:
        """Return the names of the step's indexes that are valid."""
        rows = await ground.admin.fetch(
            "SELECT relname FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid WHERE indisvalid "
            "AND relnamespace = $1::text::regnamespace AND relname LIKE '%by_tag' ORDER BY 1",
            ground.schema,
        )
        return [name for (name,) in rows]

    async def test_each_partition_gets_its_index_beside_writers_and_loses_it_again(
        self, parts: Ground, rival: asyncpg.Connection
    ) -> None:
        before = await parts.catalog()
        # What has begun before a concurrent build keeps that waiting, and no writer.
        await rival.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        await rival.fetch("SELECT count(*) FROM events")
        migrating = asyncio.create_task(parts.migrate(LATEST + 1, TAGGED))
        await parts.waiting_build()
        await asyncio.wait_for(parts.storage.store_event(an_event("beside")), 20)
        await rival.execute("ROLLBACK")
        await migrating
        await pass_a_period(parts.storage, parts.admin)

        # Those of the partitions that were made later have names that PostgreSQL gave them.
        valid = await self.valid(parts)
        assert valid[:5] == ["events_by_tag", *(f"events_p{number}_by_tag" for number in range(4))]
        assert valid[5:] == [f"metrics_p{number}_by_tag" for number in range(5)]
        assert await parts.admin.fetchval(
            "SELECT count(*) FROM pg_inherits WHERE inhparent = $1::text::regclass", f"{parts.schema}.events_by_tag"
        ) == len(await partitions_of(parts.storage, parts.admin, "events"))

        await parts.migrate(LATEST, TAGGED)
        assert await self.valid(parts) == []
        after = await parts.catalog()
        assert [row for row in after if "_p4" not in row[1]] == before

    @pytest.mark.parametrize("goes_on", [True, False])
    async def test_an_interrupted_build_goes_on_or_back(
        self, parts: Ground, monkeypatch: pytest.MonkeyPatch, *, goes_on: bool
    ) -> None:
        before = await parts.catalog()
        order = Connection.execute

        async def broken_order(self: Connection, text: str) -> None:
            if "events_p1_by_tag" in text:
                await order(self, "SELECT 1 / 0")
            await order(self, text)

        with monkeypatch.context() as patch:
            patch.setattr(Connection, "execute", broken_order)
            with pytest.raises(MigrationError, match="division by zero"):
                await parts.migrate(LATEST + 1, TAGGED)
        assert [name for name in await self.valid(parts) if "events" in name] == [
            "events_p0_by_tag",
            "events_p1_by_tag",
        ]

        await parts.migrate(LATEST + 1 if goes_on else LATEST, TAGGED)

        if goes_on:
            assert "events_by_tag" in await self.valid(parts)
            await parts.migrate(LATEST, TAGGED)
        assert await parts.catalog() == before

    async def test_a_table_that_is_whole_again_keeps_the_index(self, parts: Ground) -> None:
        await parts.migrate(LATEST + 1, TAGGED)

        await parts.storage.partition(None)

        assert await self.valid(parts) == ["events_by_tag", "metrics_by_tag"]
        await parts.migrate(LATEST, TAGGED)
        assert await self.valid(parts) == []
