BEGIN IMMEDIATE;

INSERT INTO agents (id, name, agent_type, status, capabilities, metadata, heartbeat, created_at, updated_at, "group", tags, version)
VALUES (?,?,?,?,?,?,?,?,?,?,?,?);

INSERT INTO events (id, event_type, agent_id, task_id, data, metadata, timestamp, idempotency_key, "group", tags)
VALUES (?,?,?,?,?,?,?,?,?,?),(?,?,?,?,?,?,?,?,?,?);

COMMIT;
