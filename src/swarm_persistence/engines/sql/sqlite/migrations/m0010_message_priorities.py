"""Version 10: events name a task and have metadata; messages have a priority, and the time when they were read.

Code of versions 2 to 9 that has the file open keeps working. What it stores names no task, and has no metadata and the
normal priority. What it marks as read has no `read_at`. It lists unread messages oldest first, and sorts them itself.
"""

UP = (
    "ALTER TABLE events ADD COLUMN task_id TEXT",
    "ALTER TABLE events ADD COLUMN metadata TEXT NOT NULL DEFAULT '{}'",
    # 1 is the rank of `MessagePriority.NORMAL`.
    "ALTER TABLE messages ADD COLUMN priority INTEGER NOT NULL DEFAULT 1",
    "ALTER TABLE messages ADD COLUMN read_at INTEGER",
    "DROP INDEX messages_unread",
    "CREATE INDEX messages_unread_by_priority ON messages (to_agent, priority DESC, timestamp) WHERE read = 0",
)

DOWN = (
    "DROP INDEX messages_unread_by_priority",
    "CREATE INDEX messages_unread ON messages (to_agent, timestamp) WHERE read = 0",
    "ALTER TABLE messages DROP COLUMN read_at",
    "ALTER TABLE messages DROP COLUMN priority",
    "ALTER TABLE events DROP COLUMN metadata",
    "ALTER TABLE events DROP COLUMN task_id",
)
