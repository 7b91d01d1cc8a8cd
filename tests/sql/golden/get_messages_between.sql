SELECT id, from_agent, to_agent, message_type, content, read, timestamp, acknowledged_at, result, sequence
FROM messages
WHERE min(from_agent, to_agent) = ? AND max(from_agent, to_agent) = ?
ORDER BY timestamp DESC, sequence DESC
LIMIT ? + 0;
