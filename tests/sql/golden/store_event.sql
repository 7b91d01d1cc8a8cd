INSERT INTO events (id, event_type, agent_id, data, timestamp, idempotency_key)
VALUES (?,?,?,?,?,?);
