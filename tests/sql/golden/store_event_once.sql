BEGIN IMMEDIATE;

SELECT 1
FROM events
WHERE idempotency_key = ?
LIMIT 1;

INSERT INTO events (id, event_type, agent_id, data, timestamp, idempotency_key)
VALUES (?,?,?,?,?,?);

COMMIT;
