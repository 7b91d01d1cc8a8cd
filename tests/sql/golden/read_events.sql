SELECT id, event_type, agent_id, task_id, data, metadata, timestamp, idempotency_key, "group", tags, sequence
FROM events
WHERE sequence > ? AND event_type = ?
ORDER BY sequence
LIMIT ? + 0;
