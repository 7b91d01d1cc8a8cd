"""Decides whether this code may use a schema, and migrates it; safe in many processes at once."""

import logging
from collections.abc import Sequence

import asyncpg

from swarm_persistence.engines.interface import MigrationStatus
from swarm_persistence.engines.sql.postgres.connection import Connection
from swarm_persistence.engines.sql.postgres.migrating import Migrator, Move, Report, Waits
from swarm_persistence.engines.sql.postgres.migration_lock import MigrationLock, MigrationLockedError, OpenConnection
from swarm_persistence.engines.sql.postgres.migrations import MIGRATIONS
from swarm_persistence.engines.sql.postgres.migrations.migration import PostgresMigration
from swarm_persistence.engines.sql.postgres.schema_log import SchemaLog, SchemaState
from swarm_persistence.engines.sql.postgres.url import PostgresUrl
from swarm_persistence.errors import DatabaseError, MigrationError, PoolError, shown

_log = logging.getLogger(__name__)


class SchemaVersion:
    """The version of one schema."""

    def __init__(
        self,
        schema: str,
        target: PostgresUrl,
        open_connection: OpenConnection,
        migrations: Sequence[PostgresMigration] = MIGRATIONS,
    ) -> None:
        """Take the schema's name, the URL of its database, and a function that opens another connection."""
        self._name = schema
        self._target = target
        self._log = SchemaLog(schema)
        self._migrator = Migrator(schema, self._log, migrations, MigrationLock(schema, open_connection))
        self.latest = migrations[-1].version
        self.required = max(step.version for step in migrations if step.is_required)
        """The oldest version on which all statements of this code work."""

    async def open(self, connection: Connection, *, is_migrating: bool, retry_seconds: float) -> None:
        """Bring the schema up to date, or refuse one on which this code cannot work.

        A schema on which this code can work is left as it is if it is not to be migrated, if another process is
        migrating it, if this role may not change it, or if others keep it locked for longer than `retry_seconds`.

        Raises:
            MigrationError: the schema is too new; or it is missing or too old, and is not to be migrated.

        """
        state = await self._log.read(connection)
        if state.opens_from > self.latest:
            raise MigrationError(self._explain_new(connection, state))
        if state.version >= self.latest:
            return
        is_usable = state.version >= self.required
        if not is_migrating:
            if not is_usable:
                raise MigrationError(self._explain_old(connection, state))
            return
        try:
            await self._migrate(
                connection, self.latest, Waits(0 if is_usable else retry_seconds, retry_seconds), _log.info
            )
        except MigrationLockedError as error:
            if not is_usable:
                raise self._is_being_migrated(connection, retry_seconds) from error
        except MigrationError as error:
            if not (is_usable and isinstance(error.__cause__, _PASSED_OVER)):
                raise
            _log.warning("%s; the storage works on the schema as it is", error.message)

    async def migrate(
        self, connection: Connection, target: int, *, retry_seconds: float, report: Report = _log.info
    ) -> None:
        """Migrate the schema to a version, up or down.

        Raises:
            MigrationError: the target is unknown, the schema is newer than this code, or a step failed.
            PoolError: another process was changing the schema for longer than `retry_seconds`.

        """
        self._require_target(target)
        state = await self._log.read(connection)
        if state.newest > self.latest:
            raise MigrationError(self._explain_new(connection, state))
        if state.version == target and state.interrupted is None:
            return
        try:
            await self._migrate(connection, target, Waits(retry_seconds, retry_seconds), report)
        except MigrationLockedError as error:
            raise self._is_being_migrated(connection, retry_seconds) from error

    async def require(self, connection: Connection) -> None:
        """Raise `DatabaseError` unless the schema holds our tables, of any version."""
        if not (await self._log.read(connection)).exists:
            raise DatabaseError(
                f"{connection.server}: there is no swarm in the schema {self._name!r}; name another one"
            )

    async def plan(self, connection: Connection, target: int) -> tuple[int, list[Move]]:
        """Return the version of the schema, and the steps from there to the target; raise what `migrate` raises."""
        self._require_target(target)
        state = await self._log.read(connection)
        return state.version, self._migrator.plan(state, target)

    async def status(self, connection: Connection) -> MigrationStatus:
        """Return the status of the schema's migrations."""
        state = await self._log.read(connection)
        return MigrationStatus(state.version, self.latest, state.applied, state.opens_from)

    async def _migrate(self, connection: Connection, target: int, waits: Waits, report: Report) -> None:
        try:
            await self._migrator.migrate(connection, target, waits, report)
        except asyncpg.InsufficientPrivilegeError as error:
            raise MigrationError(
                f"{connection.server}: the schema {self._name!r} is not at version {target}, and this role may not "
                f"change it ({error}); run `{self._command}` once as the role that owns the schema"
            ) from error
        except asyncpg.ReadOnlySQLTransactionError as error:
            raise MigrationError(
                f"{connection.server}: the schema {self._name!r} is not at version {target}, and this server is "
                "read-only; open the storage once on the primary (nothing was changed)"
            ) from error

    def _require_target(self, target: int) -> None:
        if type(target) is not int or not 0 <= target <= self.latest:
            raise MigrationError(f"version {shown(target)} is unknown; this code knows the versions 0 to {self.latest}")

    def _explain_new(self, connection: Connection, state: SchemaState) -> str:
        return (
            f"{connection.server}: the schema {self._name!r} has version {state.newest}, and this code knows "
            f"{self.latest} at most; upgrade swarm-persistence (the schema was left as it is)"
        )

    def _explain_old(self, connection: Connection, state: SchemaState) -> str:
        has = f"has version {state.version}" if state.exists else "holds no swarm yet"
        return (
            f"{connection.server}: the schema {self._name!r} {has}, this code needs version {self.required} or newer, "
            "and migrate=False keeps it from changing the schema; run "
            f"`{self._command}` as the role that owns the schema"
        )

    def _is_being_migrated(self, connection: Connection, retry_seconds: float) -> PoolError:
        return PoolError(
            f"{connection.server}: another process was changing the schema {self._name!r} for longer than "
            f"{retry_seconds:g} s; try again once it has finished"
        )

    @property
    def _command(self) -> str:
        return self._target.command("migrate", self._name)


_PASSED_OVER = (asyncpg.InsufficientPrivilegeError, asyncpg.ReadOnlySQLTransactionError, asyncpg.LockNotAvailableError)
"""Errors that prevent a step now, while the schema can be used as it is."""
