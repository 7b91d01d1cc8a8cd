"""Version 11: records belong to a group and have tags; a task's key may be free once the task has ended.

Code of versions 6 to 10 that has the file open keeps working. What it stores has no group and no tags, and keeps its
key forever. It keeps those of records that it rewrites.
"""

_TABLES = ("agents", "tasks", "events", "messages", "metrics")
_TAGGED = ("agents", "tasks", "events", "messages")

UP = (
    *(f'ALTER TABLE {table} ADD COLUMN "group" TEXT' for table in _TABLES),
    *(f"ALTER TABLE {table} ADD COLUMN tags TEXT NOT NULL DEFAULT '{{}}'" for table in _TAGGED),
    "ALTER TABLE tasks ADD COLUMN key_policy TEXT NOT NULL DEFAULT 'for_ever'",
    *(f'CREATE INDEX {table}_by_group ON {table} ("group") WHERE "group" IS NOT NULL' for table in _TABLES),
)

DOWN = (
    *(f"DROP INDEX {table}_by_group" for table in _TABLES),
    "ALTER TABLE tasks DROP COLUMN key_policy",
    *(f"ALTER TABLE {table} DROP COLUMN tags" for table in _TAGGED),
    *(f'ALTER TABLE {table} DROP COLUMN "group"' for table in _TABLES),
)
