"""Version 1: the five tables of the seed, and the indexes that their queries need.

Times are microseconds since 1970 in UTC, priorities their rank, JSON is text. `sequence` is the row's own number.
"""

UP = (
    """
    CREATE TABLE agents (
      sequence INTEGER PRIMARY KEY,
      id TEXT NOT NULL UNIQUE,
      name TEXT NOT NULL,
      agent_type TEXT NOT NULL,
      status TEXT NOT NULL,
      capabilities TEXT NOT NULL,
      metadata TEXT NOT NULL,
      heartbeat INTEGER NOT NULL,
      created_at INTEGER NOT NULL,
      updated_at INTEGER NOT NULL,
      version INTEGER NOT NULL
    ) STRICT
    """,
    "CREATE INDEX agents_by_age ON agents (created_at)",
    "CREATE INDEX agents_by_status ON agents (status, created_at)",
    """
    CREATE TABLE tasks (
      sequence INTEGER PRIMARY KEY,
      id TEXT NOT NULL UNIQUE,
      task_type TEXT NOT NULL,
      priority INTEGER NOT NULL,
      status TEXT NOT NULL,
      assigned_to TEXT,
      payload TEXT NOT NULL,
      result TEXT,
      error TEXT,
      retry_count INTEGER NOT NULL,
      max_retries INTEGER NOT NULL,
      dependencies TEXT NOT NULL,
      created_at INTEGER NOT NULL,
      updated_at INTEGER NOT NULL,
      started_at INTEGER,
      completed_at INTEGER,
      version INTEGER NOT NULL
    ) STRICT
    """,
    "CREATE INDEX tasks_pending ON tasks (priority DESC, created_at) WHERE status = 'pending'",
    "CREATE INDEX tasks_by_agent ON tasks (assigned_to, created_at)",
    # AUTOINCREMENT: a sequence is never assigned again after a deletion, as a reader may have seen it.
    """
    CREATE TABLE events (
      sequence INTEGER PRIMARY KEY AUTOINCREMENT,
      id TEXT NOT NULL UNIQUE,
      event_type TEXT NOT NULL,
      agent_id TEXT,
      data TEXT NOT NULL,
      timestamp INTEGER NOT NULL
    ) STRICT
    """,
    "CREATE INDEX events_by_time ON events (timestamp)",
    "CREATE INDEX events_by_agent ON events (agent_id, timestamp)",
    "CREATE INDEX events_by_type ON events (event_type, timestamp)",
    """
    CREATE TABLE messages (
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
    CREATE INDEX messages_by_pair
    ON messages (min(from_agent, to_agent), max(from_agent, to_agent), timestamp)
    """,
    "CREATE INDEX messages_unread ON messages (to_agent, timestamp) WHERE read = 0",
    """
    CREATE TABLE metrics (
      sequence INTEGER PRIMARY KEY,
      id TEXT NOT NULL UNIQUE,
      agent_id TEXT,
      metric_type TEXT NOT NULL,
      value REAL NOT NULL,
      unit TEXT NOT NULL,
      tags TEXT NOT NULL,
      timestamp INTEGER NOT NULL
    ) STRICT
    """,
    "CREATE INDEX metrics_by_agent ON metrics (agent_id, metric_type, timestamp)",
    "CREATE INDEX metrics_by_type ON metrics (metric_type, agent_id, unit, timestamp, value)",
)

DOWN = (
    "DROP TABLE agents",
    "DROP TABLE tasks",
    "DROP TABLE events",
    "DROP TABLE messages",
    "DROP TABLE metrics",
)
