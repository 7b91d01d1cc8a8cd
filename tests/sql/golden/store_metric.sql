INSERT INTO metrics (id, agent_id, metric_type, value, unit, tags, timestamp, "group")
VALUES (?,?,?,?,?,?,?,?);
