BEGIN IMMEDIATE;

SELECT 1
FROM events
WHERE idempotency_key = ?
LIMIT 1;

INSERT INTO events (id, event_type, agent_id, task_id, data, metadata, timestamp, idempotency_key, "group", tags)
VALUES (?,?,?,?,?,?,?,?,?,?);

COMMIT;
