SELECT id, from_agent, to_agent, message_type, content, priority, read, read_at, timestamp, acknowledged_at, result, "group", tags, sequence
FROM messages
WHERE to_agent = ? AND read = 0
ORDER BY priority DESC, timestamp, sequence;
