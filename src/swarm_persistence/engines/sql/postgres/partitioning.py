"""Converts a table into a partitioned one, online."""

from swarm_persistence.engines.sql.postgres.connection import Connection
from swarm_persistence.engines.sql.postgres.migrations.m0010_partitions import WIDTH
from swarm_persistence.engines.sql.postgres.online import in_short_transaction
from swarm_persistence.engines.sql.postgres.table_shapes import TableShape, execute_all, shape_of
from swarm_persistence.schema.tables import SEQUENCE


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
