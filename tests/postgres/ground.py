"""A schema that migrates by steps, those of this code and others, as several processes would do it."""

import time

import asyncpg

from polling import until
from swarm_persistence import PostgresStorage
from swarm_persistence.engines.interface import MigrationStatus
from swarm_persistence.engines.sql.postgres.connection import Connection
from swarm_persistence.engines.sql.postgres.connector import Connector
from swarm_persistence.engines.sql.postgres.migrations import LATEST, MIGRATIONS
from swarm_persistence.engines.sql.postgres.migrations.migration import (
    CreateIndex,
    DropIndex,
    FillRows,
    PostgresMigration,
)
from swarm_persistence.engines.sql.postgres.schema_version import SchemaVersion
from swarm_persistence.engines.sql.postgres.settings import PostgresSettings
from swarm_persistence.engines.sql.postgres.url import PostgresUrl

CATALOG = """
SELECT 'column', attrelid::regclass || '.' || attname, format_type(atttypid, atttypmod)
FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
WHERE relnamespace = $1::text::regnamespace AND relkind = 'r' AND attnum > 0 AND NOT attisdropped
UNION ALL
SELECT 'index', indexrelid::regclass::text, pg_get_indexdef(indexrelid) || indisvalid
FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
WHERE relnamespace = $1::text::regnamespace
UNION ALL
SELECT 'trigger', tgrelid::regclass || '.' || tgname, pg_get_triggerdef(pg_trigger.oid)
FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid
WHERE relnamespace = $1::text::regnamespace AND NOT tgisinternal
UNION ALL
SELECT 'function', proname, pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = $1::text::regnamespace
"""

COLOURED = PostgresMigration(
    LATEST + 1,
    "colours",
    (
        "ALTER TABLE {schema}.tasks ADD COLUMN colour text",
        FillRows(
            "tasks",
            "UPDATE {schema}.tasks SET colour = 'red' WHERE sequence > $1 AND sequence <= $2 AND colour IS NULL",
        ),
        CreateIndex("tasks_by_colour", "ON {schema}.tasks (colour)"),
        "CREATE TABLE {schema}.colours (name text PRIMARY KEY)",
    ),
    (
        "DROP TABLE IF EXISTS {schema}.colours",
        DropIndex("tasks_by_colour"),
        "ALTER TABLE {schema}.tasks DROP COLUMN IF EXISTS colour",
    ),
    opens_from=2,
    is_required=False,
)
BUILDING = """
SELECT pid
FROM pg_stat_progress_create_index JOIN pg_class ON pg_class.oid = relid
WHERE relnamespace = $1::text::regnamespace AND phase LIKE 'waiting%'
"""

STEPS = (*MIGRATIONS, COLOURED)


class Ground:
    """A schema, and what a test does to it as other processes would."""

    def __init__(self, url: str, storage: PostgresStorage, admin: asyncpg.Connection) -> None:
        self.url = url
        self.storage = storage
        self.admin = admin
        target = PostgresUrl(url)
        settings = target.settings(PostgresSettings())
        self.schema = settings.schema
        self._connector = Connector(target, settings)
        self.connections: list[Connection] = []

    def at(self, url: str) -> "Ground":
        """Return the same by another URL."""
        other = Ground(url, self.storage, self.admin)
        other.connections = self.connections
        return other

    async def connection(self) -> Connection:
        """Return a new connection, as another process has it."""
        self.connections.append(await self._connector.open(time.monotonic() + 30))
        return self.connections[-1]

    def version(self, *steps: PostgresMigration) -> SchemaVersion:
        """Return the version as code sees it that knows these steps in place of those of the same numbers."""
        known = {step.version: step for step in (*STEPS, *steps)}
        return SchemaVersion(self.schema, self._connector.target, self.connection, [*known.values()])

    async def migrate(self, target: int, *steps: PostgresMigration, retry_seconds: float = 30) -> None:
        """Bring the schema to a version."""
        await self.version(*steps).migrate(await self.connection(), target, retry_seconds=retry_seconds)

    async def status(self) -> MigrationStatus:
        """Return where it stands."""
        return await self.version().status(await self.connection())

    async def waiting_build(self) -> int:
        """Wait until an index is being built and waits for others, and return the number of its server process."""
        return int(await until(lambda: self.admin.fetchval(BUILDING, self.schema)))

    async def catalog(self) -> list[tuple[str, ...]]:
        """Return all that the schema consists of, but for its log."""
        rows = {tuple(row) for row in await self.admin.fetch(CATALOG, self.schema)}
        return sorted(row for row in rows if "schema_steps" not in row[1] and "keep_first_steps" not in row[1])
