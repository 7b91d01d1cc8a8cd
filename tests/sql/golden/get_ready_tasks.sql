SELECT id, task_type, priority, status, assigned_to, payload, result, error, retry_count, max_retries, dependencies, created_at, updated_at, started_at, completed_at, run_at, lease_expires_at, claim_count, idempotency_key, concurrency_key, required_capabilities, fails_with_dependencies, "group", tags, key_policy, trace_parent, version, progress, progress_text, past_claims, sequence
FROM tasks
WHERE status = 'pending' AND unmet_dependencies = 0 AND is_delayed = 1 AND run_at <= ?
ORDER BY priority DESC, sequence
LIMIT ? + 0;

SELECT id, task_type, priority, status, assigned_to, payload, result, error, retry_count, max_retries, dependencies, created_at, updated_at, started_at, completed_at, run_at, lease_expires_at, claim_count, idempotency_key, concurrency_key, required_capabilities, fails_with_dependencies, "group", tags, key_policy, trace_parent, version, progress, progress_text, past_claims, sequence
FROM tasks
WHERE status = 'pending' AND unmet_dependencies = 0 AND is_delayed = 0
ORDER BY priority DESC, sequence
LIMIT ? + 0;
