SELECT change_number, updated_at
FROM tasks
ORDER BY change_number DESC, sequence DESC
LIMIT ? + 0
OFFSET ?;

SELECT completed_at - (completed_at % ? + ?) % ? AS completed_at_bucket, task_type, status, count(*), percentile_cont(started_at - max(created_at, coalesce(run_at, created_at)), ?), percentile_cont(started_at - max(created_at, coalesce(run_at, created_at)), ?), percentile_cont(started_at - max(created_at, coalesce(run_at, created_at)), ?), percentile_cont(completed_at - started_at, ?), percentile_cont(completed_at - started_at, ?), percentile_cont(completed_at - started_at, ?)
FROM tasks
WHERE change_number > ? AND status IN (SELECT value FROM json_each(?)) AND completed_at >= ? AND completed_at <= ?
GROUP BY completed_at_bucket, task_type, status
ORDER BY completed_at_bucket, task_type, status;
