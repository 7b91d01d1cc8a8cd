SELECT avg(value), min(value), max(value), sum(value), count(*), percentile_cont(value, ?), percentile_cont(value, ?), percentile_cont(value, ?), count(*)
FROM metrics
WHERE metric_type = ? AND timestamp >= ? AND timestamp <= ?;
