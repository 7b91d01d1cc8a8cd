"""Reads and writes a schema's log of migrations: which are done or interrupted, and which code may open the schema.

There are two tables. Code of version 2 reads `schema_migrations`: it refuses a schema with a higher number there, and
ignores steps that are not in it. So that table has only those of the later steps that would break that code, and
`schema_steps` has all.
"""

from typing import Any

import msgspec

from swarm_persistence.clock import from_microseconds, microseconds, now
from swarm_persistence.engines.interface import AppliedMigration
from swarm_persistence.engines.sql.postgres.connection import Connection
from swarm_persistence.engines.sql.postgres.migrations.migration import PostgresMigration

FIRST_LOG = "schema_migrations"
STEPS = "schema_steps"

_LAST_OF_FIRST_LOG = 2
"""The version of the last release that reads only the first log."""

_FIND_TABLES = """
SELECT relname
FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE nspname = $1 AND relname IN ('schema_migrations', 'schema_steps') AND relkind = 'r'
"""

_CREATE_FIRST_LOG = """
CREATE TABLE IF NOT EXISTS {schema}.schema_migrations (
  version integer PRIMARY KEY,
  name text NOT NULL,
  applied_at timestamptz NOT NULL
)
"""

# Older code does not know the later steps, so it must not revert steps that those depend on.
_CREATE_STEPS = """
CREATE TABLE {schema}.schema_steps (
  version integer PRIMARY KEY,
  name text NOT NULL,
  applied_at timestamptz,
  opens_from integer NOT NULL,
  is_upwards boolean NOT NULL,
  groups_done integer NOT NULL
);
CREATE FUNCTION {schema}.keep_first_steps() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF EXISTS (SELECT FROM {schema}.schema_steps WHERE version > OLD.version) THEN
    RAISE EXCEPTION 'the schema has later steps; go back with the code that took them' USING ERRCODE = '55000';
  END IF;
  RETURN OLD;
END
$$;
CREATE TRIGGER keep_first_steps BEFORE DELETE ON {schema}.schema_migrations
FOR EACH ROW EXECUTE FUNCTION {schema}.keep_first_steps();
"""

_DROP_STEPS = """
DROP TRIGGER IF EXISTS keep_first_steps ON {schema}.schema_migrations;
DROP FUNCTION IF EXISTS {schema}.keep_first_steps();
DROP TABLE IF EXISTS {schema}.schema_steps;
"""

_READ = "SELECT version, name, applied_at, version, true, 0 FROM {schema}.schema_migrations"
_READ_STEPS = "SELECT version, name, applied_at, opens_from, is_upwards, groups_done FROM {schema}.schema_steps"

_WRITE_FIRST = """
INSERT INTO {schema}.schema_migrations (version, name, applied_at) VALUES ($1, $2, $3) ON CONFLICT (version) DO NOTHING
"""
_WRITE_STEP = """
INSERT INTO {schema}.schema_steps (version, name, applied_at, opens_from, is_upwards, groups_done)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (version) DO UPDATE
SET applied_at = excluded.applied_at, is_upwards = excluded.is_upwards, groups_done = excluded.groups_done
"""


class Interrupted(msgspec.Struct, frozen=True):
    """A step that was interrupted."""

    version: int
    name: str
    is_upwards: bool
    groups_done: int


class SchemaState(msgspec.Struct, frozen=True):
    """The state of a schema by its log."""

    applied: tuple[AppliedMigration, ...] = ()
    opens_from: int = 0
    """The oldest version whose code may open the schema."""
    interrupted: Interrupted | None = None
    exists: bool = False
    """Whether there is a log."""

    @property
    def version(self) -> int:
        """Return the version of the last step that is done."""
        return self.applied[-1].version if self.applied else 0

    @property
    def newest(self) -> int:
        """Return the version of the latest step that is done or interrupted."""
        return max(self.version, self.interrupted.version if self.interrupted else 0)


class SchemaLog:
    """The log of one schema."""

    def __init__(self, schema: str) -> None:
        self._name = schema
        self._quoted = f'"{schema}"'

    async def read(self, connection: Connection) -> SchemaState:
        """Return the state of the schema by its log."""
        # Not to_regclass: within a transaction, it may return a cached result.
        tables = {name for (name,) in await connection.run(_FIND_TABLES, (self._name,))}
        if FIRST_LOG not in tables:
            return SchemaState()
        texts = (_READ, _READ_STEPS) if STEPS in tables else (_READ,)
        rows = {
            row[0]: tuple(row) for row in await connection.run(self._text(" UNION ALL ".join(texts) + " ORDER BY 1, 6"))
        }
        return _state([rows[version] for version in sorted(rows)])

    async def prepare(self, connection: Connection) -> None:
        """Create the schema and its log if they are missing; in a transaction."""
        if not await connection.run("SELECT 1 FROM pg_namespace WHERE nspname = $1", (self._name,)):
            await connection.execute(f"CREATE SCHEMA IF NOT EXISTS {self._quoted}")
        await connection.execute(self._text(_CREATE_FIRST_LOG))

    async def empty(self, connection: Connection) -> None:
        """Reduce the log to that of an empty schema; in the transaction that reverted all steps."""
        await connection.execute(self._text(_DROP_STEPS))

    async def record(
        self, connection: Connection, step: PostgresMigration, groups_done: int, *, is_upwards: bool
    ) -> None:
        """Record how many groups of a step are done, in the transaction that has done them."""
        is_done = groups_done >= len(step.groups(is_upwards=is_upwards))
        if is_done and not is_upwards:
            for log in (STEPS, FIRST_LOG) if step.version > _LAST_OF_FIRST_LOG else (FIRST_LOG,):
                await connection.run(f"DELETE FROM {self._quoted}.{log} WHERE version = $1", (step.version,))
            return
        at = microseconds(now()) if is_done else None
        if step.opens_from > _LAST_OF_FIRST_LOG or step.version <= _LAST_OF_FIRST_LOG:
            await connection.run(self._text(_WRITE_FIRST), (step.version, step.name, microseconds(now())))
        if step.version > _LAST_OF_FIRST_LOG:
            if STEPS not in {name for (name,) in await connection.run(_FIND_TABLES, (self._name,))}:
                await connection.execute(self._text(_CREATE_STEPS))
            row = (step.version, step.name, at, step.opens_from, is_upwards, groups_done)
            await connection.run(self._text(_WRITE_STEP), row)

    def _text(self, text: str) -> str:
        return text.replace("{schema}", self._quoted)


def _state(rows: list[Any]) -> SchemaState:
    applied = []
    interrupted = None
    for version, name, at, _, is_upwards, groups_done in rows:
        if at is None:
            interrupted = Interrupted(version, name, is_upwards, groups_done)
        else:
            applied.append(AppliedMigration(version, name, from_microseconds(at).isoformat()))
    opens_from = max((row[3] for row in rows), default=0)
    return SchemaState(tuple(applied), opens_from, interrupted, exists=True)
