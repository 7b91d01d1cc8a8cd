INSERT INTO messages (id, from_agent, to_agent, message_type, content, read, timestamp, acknowledged_at, result)
VALUES (?,?,?,?,?,?,?,?,?);
