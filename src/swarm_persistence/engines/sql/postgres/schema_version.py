"""Brings a schema to a version: atomic, and safe when many processes do it at once."""

from collections.abc import Sequence
from typing import Any

import asyncpg

from swarm_persistence.clock import from_microseconds, microseconds, now
from swarm_persistence.engines.interface import AppliedMigration, MigrationStatus
from swarm_persistence.engines.sql.postgres.failures import Remedy, remedy_of
from swarm_persistence.engines.sql.postgres.link import Link
from swarm_persistence.engines.sql.postgres.migrations import LATEST, MIGRATIONS, Migration
from swarm_persistence.errors import DatabaseError, MigrationError, shown

_LOG = """
CREATE TABLE IF NOT EXISTS {schema}.schema_migrations (
  version integer PRIMARY KEY,
  name text NOT NULL,
  applied_at timestamptz NOT NULL
)
"""

_FIND_LOG = """
SELECT 1
FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE nspname = $1 AND relname = 'schema_migrations'
"""


class SchemaVersion:
    """The version of one schema."""

    def __init__(self, schema: str, migrations: Sequence[Migration] = MIGRATIONS) -> None:
        self._name = schema
        self._quoted = f'"{schema}"'
        self._migrations = migrations

    async def migrate(self, link: Link, target: int = LATEST) -> None:
        """Take the steps to the target version in one transaction; a step that fails leaves the schema as it was.

        Raises:
            MigrationError: the target is unknown, the schema is newer than this code, or a step failed.

        """
        latest = self._migrations[-1].version
        if type(target) is not int or not 0 <= target <= latest:
            raise MigrationError(f"version {shown(target)} is unknown; this code knows the versions 0 to {latest}")
        if await self._current(link, latest) == target:
            return
        await link.begin()
        try:
            # Whoever comes second finds the work done.
            await link.run(
                "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", (f"swarm-persistence {self._name}",)
            )
            current = await self._current(link, latest)
            await self._prepare(link)
            steps = self._migrations[current:target] if target > current else self._migrations[target:current][::-1]
            for step in steps:
                await self._take(link, step, is_upwards=target > current)
            await link.commit()
        except asyncpg.InsufficientPrivilegeError as error:
            await link.roll_back()
            raise MigrationError(
                f"{link.server}: the schema {self._name!r} is not at version {target}, and this role may not change it "
                f"({error}); open the storage once as the role that owns the schema"
            ) from error
        except asyncpg.ReadOnlySQLTransactionError as error:
            await link.roll_back()
            raise MigrationError(
                f"{link.server}: the schema {self._name!r} is not at version {target}, and this server takes no "
                "writes; open the storage once on the primary (nothing was changed)"
            ) from error
        except BaseException:
            await link.roll_back()
            raise

    async def require(self, link: Link) -> None:
        """Raise `DatabaseError` unless the schema holds our tables, of whatever version."""
        if not await self._has_log(link):
            raise DatabaseError(f"{link.server}: there is no swarm in the schema {self._name!r}; name another one")

    async def status(self, link: Link) -> MigrationStatus:
        """Return where the schema stands."""
        if not await self._has_log(link):
            return MigrationStatus(0, LATEST, ())
        rows = await link.run(
            f"SELECT version, name, applied_at FROM {self._quoted}.schema_migrations ORDER BY version"
        )
        applied = tuple(
            AppliedMigration(version, name, from_microseconds(at).isoformat()) for version, name, at in rows
        )
        return MigrationStatus(applied[-1].version if applied else 0, LATEST, applied)

    async def _current(self, link: Link, latest: int) -> int:
        if not await self._has_log(link):
            return 0
        rows: Any = await link.run(f"SELECT coalesce(max(version), 0) FROM {self._quoted}.schema_migrations")
        current: int = rows[0][0]
        if current > latest:
            raise MigrationError(
                f"{link.server}: the schema {self._name!r} has version {current}, and this code knows {latest} at "
                "most; upgrade swarm-persistence (the schema was left as it is)"
            )
        return current

    async def _has_log(self, link: Link) -> bool:
        # Not to_regclass: within a transaction it may remember that there was no such table.
        return bool(await link.run(_FIND_LOG, (self._name,)))

    async def _prepare(self, link: Link) -> None:
        found = await link.run("SELECT 1 FROM pg_namespace WHERE nspname = $1", (self._name,))
        if not found:
            await link.order(f"CREATE SCHEMA IF NOT EXISTS {self._quoted}")
        await link.order(_LOG.replace("{schema}", self._quoted))

    async def _take(self, link: Link, step: Migration, *, is_upwards: bool) -> None:
        try:
            for statement in step.up if is_upwards else step.down:
                await link.order_patiently(statement.replace("{schema}", self._quoted))
        except asyncpg.InsufficientPrivilegeError:
            raise
        except asyncpg.PostgresError as error:
            if remedy_of(error, link.is_closed) is not Remedy.NOTHING:
                raise
            direction = "to" if is_upwards else "back from"
            raise MigrationError(
                f"{link.server}: the step {direction} version {step.version} ({step.name}) of the schema "
                f"{self._name!r} failed: {error} (the schema was left as it is)"
            ) from error
        if is_upwards:
            row = (step.version, step.name, microseconds(now()))
            await link.run(
                f"INSERT INTO {self._quoted}.schema_migrations (version, name, applied_at) VALUES ($1, $2, $3)", row
            )
        else:
            await link.run(f"DELETE FROM {self._quoted}.schema_migrations WHERE version = $1", (step.version,))
