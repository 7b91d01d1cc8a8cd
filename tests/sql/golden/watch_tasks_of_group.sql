SELECT change_number
FROM tasks
ORDER BY change_number DESC, sequence DESC
LIMIT ? + 0;

SELECT id, coalesce(octet_length(id), 0) + coalesce(octet_length(task_type), 0) + coalesce(octet_length(assigned_to), 0) + coalesce(octet_length(payload), 0) + coalesce(octet_length(result), 0) + coalesce(octet_length(error), 0) + coalesce(octet_length(dependencies), 0) + coalesce(octet_length(idempotency_key), 0) + coalesce(octet_length(concurrency_key), 0) + coalesce(octet_length("group"), 0) + coalesce(octet_length(tags), 0) + coalesce(octet_length(trace_parent), 0) + coalesce(octet_length(progress_text), 0) + coalesce(octet_length(past_claims), 0)
FROM tasks
WHERE +"group" IN (SELECT value FROM json_each(?)) AND change_number > ? AND change_number <= ?
ORDER BY change_number, sequence
LIMIT ? + 0;

SELECT id, task_type, priority, status, assigned_to, payload, result, error, retry_count, max_retries, dependencies, created_at, updated_at, started_at, completed_at, run_at, lease_expires_at, claim_count, idempotency_key, concurrency_key, required_capabilities, fails_with_dependencies, "group", tags, key_policy, trace_parent, version, progress, progress_text, past_claims, unmet_dependencies, is_delayed, is_counted, change_number, sequence
FROM tasks
WHERE +"group" IN (SELECT value FROM json_each(?)) AND change_number > ? AND change_number <= ?
ORDER BY change_number, sequence
LIMIT ? + 0;
