SELECT id, from_agent, to_agent, message_type, content, read, timestamp, acknowledged_at, result, sequence
FROM messages
WHERE to_agent = ? AND read = 0
ORDER BY timestamp, sequence;
