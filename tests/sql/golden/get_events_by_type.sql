SELECT id, event_type, agent_id, task_id, data, metadata, timestamp, idempotency_key, "group", tags, sequence
FROM events
WHERE event_type = ?
ORDER BY timestamp DESC, sequence DESC
LIMIT ? + 0;
