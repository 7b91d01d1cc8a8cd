SELECT id, event_type, agent_id, data, timestamp, idempotency_key, sequence
FROM events
WHERE sequence > ? AND event_type = ?
ORDER BY sequence
LIMIT ? + 0;
