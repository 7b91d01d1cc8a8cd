SELECT id, event_type, agent_id, data, timestamp, idempotency_key, sequence
FROM events
WHERE id = ?
ORDER BY sequence;
