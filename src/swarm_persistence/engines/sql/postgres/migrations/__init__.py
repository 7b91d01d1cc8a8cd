"""The numbered steps of the PostgreSQL schema, forwards and back. A step that was released is never changed again."""

import msgspec

from swarm_persistence.engines.sql.postgres.migrations import m0001_tables, m0002_event_floor


class Migration(msgspec.Struct, frozen=True):
    """One step: statements that bring the schema to this version from the one before, and back.

    `{schema}` stands for the schema's name, quoted.
    """

    version: int
    name: str
    up: tuple[str, ...]
    down: tuple[str, ...]


MIGRATIONS: tuple[Migration, ...] = (
    Migration(1, "the tables", m0001_tables.UP, m0001_tables.DOWN),
    Migration(2, "the event floor", m0002_event_floor.UP, m0002_event_floor.DOWN),
)
"""All steps, in order, numbered from 1 without a gap."""

LATEST = MIGRATIONS[-1].version
