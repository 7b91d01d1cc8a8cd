SELECT id, event_type, agent_id, task_id, data, metadata, timestamp, idempotency_key, "group", tags, sequence
FROM events
WHERE agent_id = ?
ORDER BY timestamp DESC, sequence DESC
LIMIT ? + 0;
