SELECT id, agent_id, metric_type, value, unit, tags, timestamp, "group", sequence
FROM metrics
WHERE agent_id = ? AND metric_type = ?
ORDER BY timestamp DESC, sequence DESC;
