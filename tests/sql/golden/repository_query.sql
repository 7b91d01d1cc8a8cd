SELECT id, task_type, priority, status, assigned_to, payload, result, error, retry_count, max_retries, dependencies, created_at, updated_at, started_at, completed_at, run_at, lease_expires_at, claim_count, idempotency_key, concurrency_key, required_capabilities, fails_with_dependencies, "group", tags, key_policy, trace_parent, version, progress, progress_text, past_claims, sequence
FROM tasks
WHERE task_type IN (SELECT value FROM json_each(?)) AND id LIKE ? AND status <> ? AND started_at IS NOT NULL
ORDER BY updated_at DESC, sequence DESC
LIMIT ? + 0
OFFSET ?;
