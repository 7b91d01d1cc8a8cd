"""Version 13: schedules; tasks have a progress and its text.

Code of versions 2 to 12 that has the file open keeps working. It fires no schedules, and leaves the progress of the
tasks that it releases or takes over as it was.
"""

UP = (
    """
    CREATE TABLE schedules (
      sequence INTEGER PRIMARY KEY,
      id TEXT NOT NULL UNIQUE,
      name TEXT NOT NULL,
      task_type TEXT NOT NULL,
      payload TEXT NOT NULL,
      priority INTEGER NOT NULL,
      max_retries INTEGER NOT NULL,
      task_fields TEXT NOT NULL,
      cron TEXT,
      every REAL,
      timezone TEXT NOT NULL,
      starts_at INTEGER,
      catch_up TEXT NOT NULL,
      paused INTEGER NOT NULL,
      next_at INTEGER,
      last_at INTEGER,
      last_task_id TEXT,
      created_at INTEGER NOT NULL,
      updated_at INTEGER NOT NULL,
      version INTEGER NOT NULL
    ) STRICT
    """,
    "CREATE INDEX schedules_due ON schedules (next_at) WHERE paused = 0",
    "ALTER TABLE tasks ADD COLUMN progress REAL",
    "ALTER TABLE tasks ADD COLUMN progress_text TEXT",
)

DOWN = (
    "ALTER TABLE tasks DROP COLUMN progress_text",
    "ALTER TABLE tasks DROP COLUMN progress",
    "DROP TABLE schedules",
)
