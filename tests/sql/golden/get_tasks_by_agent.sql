SELECT id, task_type, priority, status, assigned_to, payload, result, error, retry_count, max_retries, dependencies, created_at, updated_at, started_at, completed_at, version, sequence
FROM tasks
WHERE assigned_to = ?
ORDER BY created_at DESC, sequence DESC;
