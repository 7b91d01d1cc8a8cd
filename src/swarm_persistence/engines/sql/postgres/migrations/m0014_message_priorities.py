"""Version 14: events name a task and have metadata; messages have a priority, and the time when they were read.

Code of earlier versions keeps working. What it stores names no task, and has no metadata and the normal priority. What
it marks as read has no `read_at`. It lists unread messages oldest first, and has them sorted.
"""

from swarm_persistence.engines.sql.postgres.migrations.migration import CreateIndex, DropIndex

UP = (
    """
    ALTER TABLE {schema}.events
      ADD COLUMN task_id text COLLATE "C",
      ADD COLUMN metadata json NOT NULL DEFAULT '{}'
    """,
    # 1 is the rank of `MessagePriority.NORMAL`.
    """
    ALTER TABLE {schema}.messages
      ADD COLUMN priority smallint NOT NULL DEFAULT 1,
      ADD COLUMN read_at timestamptz
    """,
    CreateIndex(
        "messages_unread_by_priority",
        "ON {schema}.messages (to_agent NULLS FIRST, priority DESC NULLS LAST, timestamp NULLS FIRST, sequence) "
        "WHERE read = false",
    ),
    DropIndex("messages_unread"),
)

DOWN = (
    CreateIndex(
        "messages_unread",
        "ON {schema}.messages (to_agent NULLS FIRST, timestamp NULLS FIRST, sequence) WHERE read = false",
    ),
    DropIndex("messages_unread_by_priority"),
    "ALTER TABLE {schema}.messages DROP COLUMN IF EXISTS read_at, DROP COLUMN IF EXISTS priority",
    "ALTER TABLE {schema}.events DROP COLUMN IF EXISTS metadata, DROP COLUMN IF EXISTS task_id",
)
