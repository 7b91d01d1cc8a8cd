SELECT agent_id, unit, avg(value), count(*), min(value), max(value), sum(value), max(timestamp)
FROM metrics
WHERE metric_type = ? AND timestamp >= ? AND timestamp <= ?
GROUP BY agent_id, unit
ORDER BY agent_id, unit;
