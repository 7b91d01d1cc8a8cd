SELECT sequence
FROM events
ORDER BY sequence DESC
LIMIT ? + 0;

SELECT sequence
FROM events
WHERE sequence > ? AND sequence <= ?
ORDER BY sequence
LIMIT ? + 0
OFFSET ?;

SELECT id, event_type, agent_id, data, timestamp, idempotency_key, sequence
FROM events
WHERE sequence > ? AND sequence <= ?
ORDER BY sequence;
