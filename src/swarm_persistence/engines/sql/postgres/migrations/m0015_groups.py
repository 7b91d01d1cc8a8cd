"""Version 15: records belong to a group and have tags; a task's key may be free once the task has ended.

Code of earlier versions keeps working. What it stores has no group and no tags, and keeps its key forever. It keeps
those of records that it rewrites.
"""

from swarm_persistence.engines.sql.postgres.migrations.migration import CreateIndex, DropIndex, Part

_TABLES = ("agents", "tasks", "events", "messages", "metrics")
_TAGGED = _TABLES[:4]

UP: tuple[Part, ...] = (
    *(
        f"""
    ALTER TABLE {{schema}}.{table}
      ADD COLUMN "group" text COLLATE "C",
      ADD COLUMN tags json NOT NULL DEFAULT '{{}}'
    """
        for table in _TAGGED
    ),
    'ALTER TABLE {schema}.metrics ADD COLUMN "group" text COLLATE "C"',
    "ALTER TABLE {schema}.tasks ADD COLUMN key_policy text COLLATE \"C\" NOT NULL DEFAULT 'for_ever'",
    *(
        CreateIndex(
            f"{table}_by_group",
            f'ON {{schema}}.{table} (left("group", 200) NULLS FIRST, sequence) WHERE "group" IS NOT NULL',
        )
        for table in _TABLES
    ),
)

DOWN: tuple[Part, ...] = (
    *(DropIndex(f"{table}_by_group") for table in _TABLES),
    "ALTER TABLE {schema}.tasks DROP COLUMN IF EXISTS key_policy",
    'ALTER TABLE {schema}.metrics DROP COLUMN IF EXISTS "group"',
    *(f'ALTER TABLE {{schema}}.{table} DROP COLUMN IF EXISTS tags, DROP COLUMN IF EXISTS "group"' for table in _TAGGED),
)
