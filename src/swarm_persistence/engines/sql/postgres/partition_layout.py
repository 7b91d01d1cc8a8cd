"""The layout of a schema's history tables, plain or partitioned by period, and its online change."""

from collections.abc import Callable

import asyncpg

from swarm_persistence.engines.sql.postgres.connection import Connection
from swarm_persistence.engines.sql.postgres.migration_lock import MigrationLock, MigrationLockedError
from swarm_persistence.engines.sql.postgres.migrations.m0010_partitions import WIDTH
from swarm_persistence.engines.sql.postgres.online import in_short_transaction
from swarm_persistence.engines.sql.postgres.periods import PARTITIONABLE
from swarm_persistence.engines.sql.postgres.settings import Period
from swarm_persistence.engines.sql.postgres.table_shapes import TableShape, execute_all, shape_of
from swarm_persistence.engines.sql.postgres.unpartitioning import Unpartitioning
from swarm_persistence.engines.sql.postgres.url import PostgresUrl
from swarm_persistence.errors import MigrationError
from swarm_persistence.schema.tables import SEQUENCE

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


async def partition(connection: Connection, schema: str, name: str, period: str, retry_seconds: float) -> None:
    """Make the present table the first partition; later rows go to the periods that follow.

    The schema is quoted. The table is locked for as long as it takes to rename it.

    Raises:
        asyncpg.PostgresError: the role does not own the table; or it could not be locked within `retry_seconds`.

    """
    table = f"{schema}.{name}"
    border = f"{name}_border"
    shape = await shape_of(connection, schema, name)
    highest = (await connection.run(f"SELECT coalesce(max({SEQUENCE}), 0) FROM {table}"))[0][0]
    upper = (max(highest, shape.last_number) // WIDTH + 1) * WIDTH

    async def add_border() -> None:
        await execute_all(
            connection,
            f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {border}",  # left by an interrupted attempt
            f"ALTER TABLE {table} ADD CONSTRAINT {border} CHECK ({SEQUENCE} < {upper}) NOT VALID",
        )

    async def convert() -> None:
        await connection.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        shape = await shape_of(connection, schema, name)
        await execute_all(connection, *_partitioned(schema, shape, border, upper))
        await connection.run(f"INSERT INTO {schema}.partitioned_tables (name, period) VALUES ($1, $2)", (name, period))
        await connection.run(
            f"INSERT INTO {schema}.partitions (name, parent, lower, upper, begun_at) "
            "VALUES ($1, $2, 0, $3, clock_timestamp())",
            (f"{name}_p0", name, upper),
        )
        await connection.run(f"SELECT {schema}.add_partition($1)", (name,))

    # A constraint that was validated online saves a scan of the table while it is locked.
    await in_short_transaction(connection, add_border, retry_seconds)
    await connection.execute_watched(f"ALTER TABLE {table} VALIDATE CONSTRAINT {border}")
    await in_short_transaction(connection, convert, retry_seconds)


def _partitioned(schema: str, shape: TableShape, border: str, upper: int) -> list[str]:
    """Return the statements that make the table a partition of a new table with its name."""
    name = shape.name
    table, first = f"{schema}.{name}", f"{schema}.{name}_p0"
    # A unique index of a partitioned table would have to hold the sequence, too: each partition has its own.
    shared = [index for index in shape.indexes if not index.is_unique]
    return [
        *(f"DROP TRIGGER {trigger} ON {table}" for trigger in shape.triggers),
        f"ALTER TABLE {table} ALTER {SEQUENCE} DROP IDENTITY",
        f"ALTER TABLE {table} RENAME TO {name}_p0",
        *(f"ALTER INDEX {schema}.{name}{i.suffix} RENAME TO {name}_p0{i.suffix}" for i in shape.indexes),
        f"CREATE TABLE {table} (LIKE {first} INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE) "
        f"PARTITION BY RANGE ({SEQUENCE})",
        f"ALTER TABLE {table} DROP CONSTRAINT {border}, ADD CONSTRAINT {name}_pkey PRIMARY KEY ({SEQUENCE})",
        *shape.numbering(schema),
        *(index.create(schema, name) for index in shared),
        f"ALTER TABLE {table} ATTACH PARTITION {first} FOR VALUES FROM (MINVALUE) TO ({upper})",
        f"ALTER TABLE {first} DROP CONSTRAINT {border}",
        *shape.triggers.values(),
        f"CREATE TRIGGER enter_partition BEFORE INSERT ON {table} "
        f"FOR EACH STATEMENT EXECUTE FUNCTION {schema}.enter_partition()",
        f"CREATE TRIGGER refuse_known AFTER INSERT ON {table} "
        f"REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION {schema}.refuse_known_{name}()",
        *shape.rights(schema),
    ]
