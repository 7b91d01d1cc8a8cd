SELECT id, event_type, agent_id, data, timestamp, idempotency_key, sequence
FROM events
WHERE event_type = ?
ORDER BY timestamp DESC, sequence DESC
LIMIT ? + 0;
