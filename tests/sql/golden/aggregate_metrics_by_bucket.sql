SELECT timestamp - (timestamp % ? + ?) % ? AS timestamp_bucket, unit, agent_id, avg(value), count(*), percentile_cont(value, ?), count(*)
FROM metrics
WHERE metric_type = ? AND timestamp >= ? AND timestamp <= ?
GROUP BY timestamp_bucket, unit, agent_id
ORDER BY timestamp_bucket, unit, agent_id;
