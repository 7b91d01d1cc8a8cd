SELECT id, task_type, priority, status, assigned_to, payload, result, error, retry_count, max_retries, dependencies, created_at, updated_at, started_at, completed_at, run_at, lease_expires_at, claim_count, idempotency_key, concurrency_key, required_capabilities, fails_with_dependencies, "group", tags, key_policy, trace_parent, version, progress, progress_text, past_claims, sequence
FROM tasks
WHERE CASE WHEN payload GLOB '*\u0000*' THEN passes_json(payload, ?) ELSE json_extract(payload, ?) = ? AND json_type(payload, ?) IN ('text') END
ORDER BY sequence;

SELECT id, task_type, priority, status, assigned_to, payload, result, error, retry_count, max_retries, dependencies, created_at, updated_at, started_at, completed_at, run_at, lease_expires_at, claim_count, idempotency_key, concurrency_key, required_capabilities, fails_with_dependencies, "group", tags, key_policy, trace_parent, version, progress, progress_text, past_claims, sequence
FROM tasks
WHERE CASE WHEN payload GLOB '*\u0000*' THEN passes_json(payload, ?) ELSE json_type(payload, ?) <> 'null' AND NOT (json_extract(payload, ?) = ? AND json_type(payload, ?) IN ('integer', 'real')) END
ORDER BY sequence;

SELECT id, task_type, priority, status, assigned_to, payload, result, error, retry_count, max_retries, dependencies, created_at, updated_at, started_at, completed_at, run_at, lease_expires_at, claim_count, idempotency_key, concurrency_key, required_capabilities, fails_with_dependencies, "group", tags, key_policy, trace_parent, version, progress, progress_text, past_claims, sequence
FROM tasks
WHERE passes_json(payload, ?)
ORDER BY sequence;

SELECT id, task_type, priority, status, assigned_to, payload, result, error, retry_count, max_retries, dependencies, created_at, updated_at, started_at, completed_at, run_at, lease_expires_at, claim_count, idempotency_key, concurrency_key, required_capabilities, fails_with_dependencies, "group", tags, key_policy, trace_parent, version, progress, progress_text, past_claims, sequence
FROM tasks
WHERE CASE WHEN payload GLOB '*\u0000*' THEN passes_json(payload, ?) ELSE json_type(payload, ?) = ? END
ORDER BY sequence;

SELECT id, task_type, priority, status, assigned_to, payload, result, error, retry_count, max_retries, dependencies, created_at, updated_at, started_at, completed_at, run_at, lease_expires_at, claim_count, idempotency_key, concurrency_key, required_capabilities, fails_with_dependencies, "group", tags, key_policy, trace_parent, version, progress, progress_text, past_claims, sequence
FROM tasks
WHERE CASE WHEN payload GLOB '*\u0000*' THEN passes_json(payload, ?) ELSE json_type(payload, ?) NOT IN ('null', ?) END
ORDER BY sequence;
