SELECT id, event_type, agent_id, task_id, data, metadata, timestamp, idempotency_key, "group", tags, sequence
FROM events
WHERE timestamp >= ?
ORDER BY timestamp, sequence;
