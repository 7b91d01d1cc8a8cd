BEGIN IMMEDIATE;

SELECT 1
FROM task_links
WHERE dependency_id = ?
LIMIT 1;

UPDATE tasks
SET
  status = ?,
  lease_expires_at = ?,
  completed_at = ?,
  updated_at = ?,
  version = version + 1,
  change_number = max((SELECT coalesce(max(change_number), 0) FROM tasks), (SELECT number FROM change_floor)) + 1
WHERE id = ? AND status IN (SELECT value FROM json_each(?));

COMMIT;

SELECT id, task_type, priority, status, assigned_to, payload, result, error, retry_count, max_retries, dependencies, created_at, updated_at, started_at, completed_at, run_at, lease_expires_at, claim_count, idempotency_key, concurrency_key, required_capabilities, fails_with_dependencies, "group", tags, key_policy, trace_parent, version, progress, progress_text, past_claims, sequence
FROM tasks
WHERE id = ?
ORDER BY sequence;

BEGIN IMMEDIATE;

SAVEPOINT operation;

UPDATE tasks
SET
  task_type = ?,
  priority = ?,
  status = ?,
  assigned_to = ?,
  payload = ?,
  result = ?,
  error = ?,
  retry_count = ?,
  max_retries = ?,
  dependencies = ?,
  created_at = ?,
  updated_at = ?,
  started_at = ?,
  completed_at = ?,
  run_at = ?,
  lease_expires_at = ?,
  claim_count = max(claim_count, ?),
  idempotency_key = ?,
  concurrency_key = ?,
  required_capabilities = ?,
  fails_with_dependencies = ?,
  "group" = ?,
  tags = ?,
  key_policy = ?,
  trace_parent = ?,
  version = ?,
  progress = ?,
  progress_text = ?,
  past_claims = CASE WHEN assigned_to IS NULL OR assigned_to = ? OR status = 'pending' THEN past_claims ELSE CASE WHEN json_valid(past_claims) THEN json_insert(CASE WHEN json_array_length(past_claims) < 100 THEN past_claims ELSE json_remove(past_claims, '$[0]') END, '$[#]', json_array(claim_count, assigned_to, started_at, coalesce(completed_at, ?), CASE WHEN status IN ('assigned', 'running') THEN 'released' ELSE status END, CASE WHEN status = 'failed' THEN substr(error, 1, 500) END)) ELSE past_claims END END,
  change_number = max((SELECT coalesce(max(change_number), 0) FROM tasks), (SELECT number FROM change_floor)) + 1
WHERE id = ? AND version = ? AND (status <> 'completed' OR ? = 'completed')
RETURNING version;

DELETE FROM task_links
WHERE task_id = ?;

UPDATE tasks
SET
  unmet_dependencies = ?,
  is_delayed = ?,
  is_counted = ?
WHERE id = ?;

RELEASE operation;

SELECT id, task_type, priority, status, assigned_to, payload, result, error, retry_count, max_retries, dependencies, created_at, updated_at, started_at, completed_at, run_at, lease_expires_at, claim_count, idempotency_key, concurrency_key, required_capabilities, fails_with_dependencies, "group", tags, key_policy, trace_parent, version, progress, progress_text, past_claims, sequence
FROM tasks
WHERE id = ?
ORDER BY sequence;

COMMIT;
