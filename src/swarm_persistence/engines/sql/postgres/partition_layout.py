"""The layout of a schema's history tables, plain or partitioned by period, and its online change."""

from collections.abc import Callable

import asyncpg

from swarm_persistence.engines.sql.postgres.connection import Connection
from swarm_persistence.engines.sql.postgres.migration_lock import MigrationLock, MigrationLockedError
from swarm_persistence.engines.sql.postgres.partitioning import partition
from swarm_persistence.engines.sql.postgres.periods import PARTITIONABLE
from swarm_persistence.engines.sql.postgres.settings import Period
from swarm_persistence.engines.sql.postgres.unpartitioning import Unpartitioning
from swarm_persistence.engines.sql.postgres.url import PostgresUrl
from swarm_persistence.errors import MigrationError

_OLDEST_VERSION = 14
"""Older servers cannot detach a partition without locking the table."""

Report = Callable[[str], object]


class PartitionLayout:
    """The layout of one schema's tables."""

    def __init__(self, schema: str, target: PostgresUrl, lock: MigrationLock) -> None:
        """Take the schema's name, the URL of its database, and the migration lock."""
        self._name = schema
        self._schema = f'"{schema}"'
        self._target = target
        self._lock = lock

    async def periods(self, connection: Connection) -> dict[str, str]:
        """Return the periods of the partitioned tables."""
        rows = await connection.run(f"SELECT name, period FROM {self._schema}.partitioned_tables ORDER BY name")
        return {str(name): str(period) for name, period in rows}

    async def require(self, connection: Connection, period: Period, retry_seconds: float) -> None:
        """Partition the tables of a new schema; refuse one that holds records and is not partitioned by this period.

        Raises:
            MigrationError: see `change`.

        """
        if await self.periods(connection) == dict.fromkeys(PARTITIONABLE, period):
            return
        are_filled = (f"EXISTS (SELECT FROM {self._schema}.{table})" for table in PARTITIONABLE)
        if (await connection.run(f"SELECT {' OR '.join(are_filled)}"))[0][0]:
            raise MigrationError(
                f"{connection.server}: partition_by={period!r} partitions a new schema, and {self._name!r} holds "
                "records that are kept otherwise; run "
                f"`{self._target.command(f'partition --by {period}', self._name)}` as the role that owns the schema"
            )
        await self.change(connection, period, retry_seconds, lambda text: None)

    async def change(self, connection: Connection, period: Period | None, retry_seconds: float, report: Report) -> None:
        """Partition the tables by a period, or convert them to plain ones; skip those that already have this layout.

        Raises:
            MigrationError: the server is too old, the role may not change the tables, or they were not locked within
                `retry_seconds`. Tables that were changed before that stay so.

        """
        if period is not None and connection.driver.get_server_version().major < _OLDEST_VERSION:
            raise MigrationError(f"{connection.server}: partitions need PostgreSQL {_OLDEST_VERSION} or newer")
        try:
            async with self._lock.held(connection, retry_seconds):
                for table in sorted(PARTITIONABLE):
                    await self._change_one(connection, table, period, retry_seconds, report)
        except MigrationLockedError as error:
            raise MigrationError(
                f"{connection.server}: another process was changing the schema {self._name!r} for longer than "
                f"{retry_seconds:g} s; try again once it has finished"
            ) from error
        except _REFUSALS as error:
            raise MigrationError(
                f"{connection.server}: the tables of the schema {self._name!r} could not be changed ({error}); do it "
                "as the role that owns them, on the primary, when no transaction on them stays open for long"
            ) from error

    async def _change_one(
        self, connection: Connection, table: str, period: Period | None, retry_seconds: float, report: Report
    ) -> None:
        present = (await self.periods(connection)).get(table)
        if present is not None and period is not None:
            await Unpartitioning(connection, self._schema, table, retry_seconds).clean_up()
        if present == period:
            report(f"{table}: {_shown(period)}, as before")
            return
        if period is None:
            await Unpartitioning(connection, self._schema, table, retry_seconds).run()
        elif present is None:
            await partition(connection, self._schema, table, period, retry_seconds)
        else:
            await connection.run(
                f"UPDATE {self._schema}.partitioned_tables SET period = $1 WHERE name = $2", (period, table)
            )
        report(f"{table}: {_shown(period)}")


_REFUSALS = (asyncpg.InsufficientPrivilegeError, asyncpg.ReadOnlySQLTransactionError, asyncpg.LockNotAvailableError)


def _shown(period: str | None) -> str:
    return "not partitioned" if period is None else f"partitioned by {period}"
