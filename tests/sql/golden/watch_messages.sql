SELECT sequence
FROM messages
ORDER BY sequence DESC
LIMIT ? + 0;

SELECT id, coalesce(octet_length(id), 0) + coalesce(octet_length(from_agent), 0) + coalesce(octet_length(to_agent), 0) + coalesce(octet_length(message_type), 0) + coalesce(octet_length(content), 0) + coalesce(octet_length(result), 0) + coalesce(octet_length("group"), 0) + coalesce(octet_length(tags), 0)
FROM messages
WHERE to_agent = ? AND sequence > ? AND sequence <= ?
ORDER BY sequence
LIMIT ? + 0;

SELECT id, from_agent, to_agent, message_type, content, priority, read, read_at, timestamp, acknowledged_at, result, "group", tags, sequence
FROM messages
WHERE to_agent = ? AND sequence > ? AND sequence <= ?
ORDER BY sequence
LIMIT ? + 0;
