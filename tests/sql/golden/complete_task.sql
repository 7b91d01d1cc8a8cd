BEGIN IMMEDIATE;

UPDATE tasks
SET
  status = ?,
  assigned_to = ?,
  lease_expires_at = ?,
  claim_count = claim_count + 1,
  updated_at = ?,
  version = version + 1,
  change_number = max((SELECT coalesce(max(change_number), 0) FROM tasks), (SELECT number FROM change_floor)) + 1
WHERE id = ? AND status = 'pending'
AND NOT EXISTS (SELECT 1 FROM task_limits LIMIT 1)
RETURNING id, task_type, priority, status, assigned_to, payload, result, error, retry_count, max_retries, dependencies, created_at, updated_at, started_at, completed_at, run_at, lease_expires_at, claim_count, idempotency_key, concurrency_key, required_capabilities, fails_with_dependencies, "group", tags, key_policy, trace_parent, version, progress, progress_text, past_claims, unmet_dependencies, is_delayed, is_counted, change_number, sequence;

COMMIT;

SELECT id, task_type, priority, status, assigned_to, payload, result, error, retry_count, max_retries, dependencies, created_at, updated_at, started_at, completed_at, run_at, lease_expires_at, claim_count, idempotency_key, concurrency_key, required_capabilities, fails_with_dependencies, "group", tags, key_policy, trace_parent, version, progress, progress_text, past_claims, sequence
FROM tasks
WHERE id = ?
ORDER BY sequence;

BEGIN IMMEDIATE;

UPDATE tasks
SET
  status = ?,
  result = ?,
  error = ?,
  lease_expires_at = ?,
  completed_at = ?,
  updated_at = ?,
  version = version + 1,
  change_number = max((SELECT coalesce(max(change_number), 0) FROM tasks), (SELECT number FROM change_floor)) + 1
WHERE id = ? AND status IN (SELECT value FROM json_each(?)) AND assigned_to = ? AND claim_count = ?
RETURNING id, task_type, priority, status, assigned_to, payload, result, error, retry_count, max_retries, dependencies, created_at, updated_at, started_at, completed_at, run_at, lease_expires_at, claim_count, idempotency_key, concurrency_key, required_capabilities, fails_with_dependencies, "group", tags, key_policy, trace_parent, version, progress, progress_text, past_claims, unmet_dependencies, is_delayed, is_counted, change_number, sequence;

DELETE FROM task_links
WHERE dependency_id = ?;

COMMIT;
