SELECT sequence
FROM messages
ORDER BY sequence DESC
LIMIT ? + 0;

SELECT id, from_agent, to_agent, message_type, content, priority, read, read_at, timestamp, acknowledged_at, result, "group", tags, sequence
FROM messages
WHERE to_agent = ? AND sequence > ? AND sequence <= ?
ORDER BY sequence
LIMIT ? + 0;
