SELECT id, event_type, agent_id, data, timestamp, idempotency_key, sequence
FROM events
WHERE timestamp >= ?
ORDER BY timestamp, sequence;
