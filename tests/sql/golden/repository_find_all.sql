SELECT id, agent_id, metric_type, value, unit, tags, timestamp, "group", sequence
FROM metrics
ORDER BY sequence;
