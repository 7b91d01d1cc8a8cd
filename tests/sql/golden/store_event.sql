INSERT INTO events (id, event_type, agent_id, task_id, data, metadata, timestamp, idempotency_key, "group", tags)
VALUES (?,?,?,?,?,?,?,?,?,?);
