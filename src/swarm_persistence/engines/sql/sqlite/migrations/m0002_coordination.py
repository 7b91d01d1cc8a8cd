"""Version 2: what tasks, events and messages need for leases, dependencies, delays, idempotency and watching.

`task_links` holds a row for each dependency that a task still waits for. Tasks count theirs in `unmet_dependencies`.
"""

_LATER_COLUMNS = (
    "ALTER TABLE tasks ADD COLUMN run_at INTEGER",
    "ALTER TABLE tasks ADD COLUMN lease_expires_at INTEGER",
    "ALTER TABLE tasks ADD COLUMN claim_count INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE tasks ADD COLUMN idempotency_key TEXT",
    "ALTER TABLE tasks ADD COLUMN fails_with_dependencies INTEGER NOT NULL DEFAULT 1",
    "ALTER TABLE tasks ADD COLUMN unmet_dependencies INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE tasks ADD COLUMN is_delayed INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE tasks ADD COLUMN change_number INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE events ADD COLUMN idempotency_key TEXT",
)

_MESSAGE_INDEXES = (
    "CREATE INDEX messages_by_pair ON messages (min(from_agent, to_agent), max(from_agent, to_agent), timestamp)",
    "CREATE INDEX messages_unread ON messages (to_agent, timestamp) WHERE read = 0",
)

UP = (
    *_LATER_COLUMNS,
    "UPDATE tasks SET change_number = sequence",
    # The number of a deleted row must not be assigned again: a reader may have seen it.
    "CREATE TABLE change_floor (number INTEGER NOT NULL) STRICT",
    "INSERT INTO change_floor (number) VALUES (0)",
    """
    CREATE TRIGGER tasks_deleted AFTER DELETE ON tasks BEGIN
      UPDATE change_floor SET number = OLD.change_number WHERE number < OLD.change_number;
    END
    """,
    """
    CREATE TABLE task_links (
      sequence INTEGER PRIMARY KEY,
      id TEXT NOT NULL UNIQUE,
      task_id TEXT NOT NULL,
      dependency_id TEXT NOT NULL
    ) STRICT
    """,
    "CREATE INDEX task_links_by_task ON task_links (task_id)",
    "CREATE INDEX task_links_by_dependency ON task_links (dependency_id)",
    """
    INSERT INTO task_links (id, task_id, dependency_id)
    SELECT DISTINCT length(tasks.id) || ':' || tasks.id || value, tasks.id, value
    FROM tasks, json_each(tasks.dependencies)
    WHERE value NOT IN (SELECT id FROM tasks WHERE status = 'completed')
    """,
    """
    UPDATE tasks
    SET unmet_dependencies = (SELECT count(*) FROM task_links WHERE task_id = tasks.id)
    WHERE dependencies <> '[]'
    """,
    "DROP INDEX tasks_by_agent",
    "CREATE INDEX tasks_by_agent ON tasks (assigned_to, created_at) WHERE assigned_to IS NOT NULL",
    """
    CREATE INDEX tasks_ready ON tasks (priority DESC, created_at)
    WHERE status = 'pending' AND unmet_dependencies = 0 AND is_delayed = 0
    """,
    """
    CREATE INDEX tasks_ready_by_type ON tasks (task_type, priority DESC, created_at)
    WHERE status = 'pending' AND unmet_dependencies = 0 AND is_delayed = 0
    """,
    "CREATE INDEX tasks_delayed ON tasks (run_at) WHERE is_delayed = 1",
    "CREATE INDEX tasks_leased ON tasks (lease_expires_at) WHERE lease_expires_at IS NOT NULL",
    "CREATE UNIQUE INDEX tasks_by_key ON tasks (idempotency_key) WHERE idempotency_key IS NOT NULL",
    "CREATE INDEX tasks_changed ON tasks (change_number)",
    "CREATE INDEX agents_by_heartbeat ON agents (status, heartbeat)",
    "CREATE UNIQUE INDEX events_by_key ON events (idempotency_key) WHERE idempotency_key IS NOT NULL",
    # AUTOINCREMENT: a sequence is never assigned again after a deletion, as a reader may have seen it.
    """
    CREATE TABLE arrived_messages (
      sequence INTEGER PRIMARY KEY AUTOINCREMENT,
      id TEXT NOT NULL UNIQUE,
      from_agent TEXT NOT NULL,
      to_agent TEXT NOT NULL,
      message_type TEXT NOT NULL,
      content TEXT NOT NULL,
      read INTEGER NOT NULL,
      timestamp INTEGER NOT NULL,
      acknowledged_at INTEGER,
      result TEXT
    ) STRICT
    """,
    """
    INSERT INTO arrived_messages (sequence, id, from_agent, to_agent, message_type, content, read, timestamp)
    SELECT sequence, id, from_agent, to_agent, message_type, content, read, timestamp FROM messages ORDER BY sequence
    """,
    "DROP TABLE messages",
    "ALTER TABLE arrived_messages RENAME TO messages",
    *_MESSAGE_INDEXES,
    "CREATE INDEX messages_by_arrival ON messages (to_agent)",
)

DOWN = (
    "DROP INDEX messages_by_arrival",
    """
    CREATE TABLE seed_messages (
      sequence INTEGER PRIMARY KEY,
      id TEXT NOT NULL UNIQUE,
      from_agent TEXT NOT NULL,
      to_agent TEXT NOT NULL,
      message_type TEXT NOT NULL,
      content TEXT NOT NULL,
      read INTEGER NOT NULL,
      timestamp INTEGER NOT NULL
    ) STRICT
    """,
    """
    INSERT INTO seed_messages (sequence, id, from_agent, to_agent, message_type, content, read, timestamp)
    SELECT sequence, id, from_agent, to_agent, message_type, content, read, timestamp FROM messages ORDER BY sequence
    """,
    "DROP TABLE messages",
    "ALTER TABLE seed_messages RENAME TO messages",
    *_MESSAGE_INDEXES,
    "DROP INDEX events_by_key",
    "DROP INDEX agents_by_heartbeat",
    *(
        f"DROP INDEX {name}"
        for name in (
            "tasks_changed",
            "tasks_by_key",
            "tasks_leased",
            "tasks_delayed",
            "tasks_ready_by_type",
            "tasks_ready",
            "tasks_by_agent",
        )
    ),
    "CREATE INDEX tasks_by_agent ON tasks (assigned_to, created_at)",
    "DROP TABLE task_links",
    "DROP TRIGGER tasks_deleted",
    "DROP TABLE change_floor",
    *(
        f"ALTER TABLE {statement.split()[2]} DROP COLUMN {statement.split()[5]}"
        for statement in reversed(_LATER_COLUMNS)
    ),
)
