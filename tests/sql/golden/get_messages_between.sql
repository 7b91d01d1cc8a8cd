SELECT id, from_agent, to_agent, message_type, content, priority, read, read_at, timestamp, acknowledged_at, result, "group", tags, sequence
FROM messages
WHERE min(from_agent, to_agent) = ? AND max(from_agent, to_agent) = ?
ORDER BY timestamp DESC, sequence DESC
LIMIT ? + 0;
