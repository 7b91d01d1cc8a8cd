INSERT INTO messages (id, from_agent, to_agent, message_type, content, priority, read, read_at, timestamp, acknowledged_at, result, "group", tags)
VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?);
