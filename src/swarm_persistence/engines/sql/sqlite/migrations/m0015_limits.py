"""Version 15: limits of task types, concurrency keys, and the capabilities that a task requires.

Code of versions 6 to 14 opens the file and works on it. Its claims observe no limit, are not counted for one, and take
tasks whatever capabilities they require. A task that newer code has claimed stays counted: it makes room when older
code ends or releases it, and counts again when older code claims it. What older code stores has no key and requires no
capabilities.
"""

_READY = "WHERE status = 'pending' AND unmet_dependencies = 0 AND is_delayed = 0"

UP = (
    "ALTER TABLE tasks ADD COLUMN concurrency_key TEXT",
    "ALTER TABLE tasks ADD COLUMN required_capabilities TEXT",
    "ALTER TABLE tasks ADD COLUMN is_counted INTEGER NOT NULL DEFAULT 0",
    "CREATE INDEX tasks_ready_by_concurrency_key ON tasks (task_type, concurrency_key, priority DESC) "
    f"{_READY} AND concurrency_key IS NOT NULL",
    "CREATE INDEX tasks_ready_by_capabilities ON tasks (required_capabilities, task_type, priority DESC) "
    f"{_READY} AND required_capabilities IS NOT NULL",
    "CREATE INDEX tasks_counted ON tasks (task_type, status) WHERE is_counted = 1",
    """
    CREATE TABLE task_limits (
      sequence INTEGER PRIMARY KEY,
      id TEXT NOT NULL UNIQUE,
      running INTEGER,
      per_key INTEGER,
      starts INTEGER,
      per_seconds REAL
    ) STRICT
    """,
    """
    CREATE TABLE task_starts (
      sequence INTEGER PRIMARY KEY,
      id TEXT NOT NULL UNIQUE,
      task_type TEXT NOT NULL,
      started_at INTEGER NOT NULL,
      number INTEGER NOT NULL
    ) STRICT
    """,
    "CREATE INDEX task_starts_by_type ON task_starts (task_type, started_at)",
)

DOWN = (
    "DROP TABLE task_starts",
    "DROP TABLE task_limits",
    "DROP INDEX tasks_counted",
    "DROP INDEX tasks_ready_by_capabilities",
    "DROP INDEX tasks_ready_by_concurrency_key",
    "ALTER TABLE tasks DROP COLUMN is_counted",
    "ALTER TABLE tasks DROP COLUMN required_capabilities",
    "ALTER TABLE tasks DROP COLUMN concurrency_key",
)
