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
  assigned_to = ?,
  started_at = ?,
  lease_expires_at = ?,
  progress = ?,
  progress_text = ?,
  past_claims = CASE WHEN assigned_to IS NULL THEN past_claims ELSE CASE WHEN json_valid(past_claims) THEN json_insert(CASE WHEN json_array_length(past_claims) < 100 THEN past_claims ELSE json_remove(past_claims, '$[0]') END, '$[#]', json_array(claim_count, assigned_to, started_at, ?, 'retried', ?)) ELSE past_claims END END,
  updated_at = ?,
  version = version + 1,
  error = ?,
  retry_count = ?,
  change_number = max((SELECT coalesce(max(change_number), 0) FROM tasks), (SELECT number FROM change_floor)) + 1
WHERE id = ? AND status IN (SELECT value FROM json_each(?)) AND assigned_to = ? AND claim_count = ? AND retry_count = ? AND max_retries = ?
RETURNING id, task_type, priority, status, assigned_to, payload, result, error, retry_count, max_retries, dependencies, created_at, updated_at, started_at, completed_at, run_at, lease_expires_at, claim_count, idempotency_key, concurrency_key, required_capabilities, fails_with_dependencies, "group", tags, key_policy, trace_parent, version, progress, progress_text, past_claims, unmet_dependencies, is_delayed, is_counted, change_number, sequence;

COMMIT;
