BEGIN IMMEDIATE;

UPDATE tasks
SET
  is_delayed = ?
WHERE is_delayed = 1 AND run_at <= ? AND sequence IN (
  SELECT sequence
  FROM tasks
  WHERE is_delayed = 1 AND run_at <= ?
  ORDER BY run_at, sequence
  LIMIT ? + 0
);

UPDATE tasks
SET
  status = ?,
  assigned_to = ?,
  lease_expires_at = ?,
  claim_count = claim_count + 1,
  updated_at = ?,
  version = version + 1,
  started_at = ?,
  change_number = max((SELECT coalesce(max(change_number), 0) FROM tasks), (SELECT number FROM change_floor)) + 1
WHERE sequence = (
  SELECT sequence
  FROM tasks
  WHERE status = 'pending' AND unmet_dependencies = 0 AND is_delayed = 0
  ORDER BY priority DESC, sequence
  LIMIT ? + 0
)
AND NOT EXISTS (SELECT 1 FROM task_limits LIMIT 1)
AND NOT EXISTS (SELECT 1 FROM tasks WHERE status = 'pending' AND unmet_dependencies = 0 AND is_delayed = 0 AND required_capabilities IS NOT NULL ORDER BY required_capabilities, sequence LIMIT 1)
RETURNING id, task_type, priority, status, assigned_to, payload, result, error, retry_count, max_retries, dependencies, created_at, updated_at, started_at, completed_at, run_at, lease_expires_at, claim_count, idempotency_key, concurrency_key, required_capabilities, fails_with_dependencies, "group", tags, key_policy, trace_parent, version, progress, progress_text, past_claims, unmet_dependencies, is_delayed, is_counted, change_number, sequence;

COMMIT;

SELECT id, claim_count, retry_count, max_retries, assigned_to
FROM tasks
WHERE status IN (SELECT value FROM json_each(?)) AND lease_expires_at <= ?
ORDER BY lease_expires_at, sequence
LIMIT ? + 0;

BEGIN IMMEDIATE;

UPDATE tasks
SET
  status = ?,
  assigned_to = ?,
  started_at = ?,
  lease_expires_at = ?,
  progress = ?,
  progress_text = ?,
  past_claims = CASE WHEN assigned_to IS NULL THEN past_claims ELSE CASE WHEN json_valid(past_claims) THEN json_insert(CASE WHEN json_array_length(past_claims) < 100 THEN past_claims ELSE json_remove(past_claims, '$[0]') END, '$[#]', json_array(claim_count, assigned_to, started_at, ?, 'lease_expired', ?)) ELSE past_claims END END,
  updated_at = ?,
  version = version + 1,
  error = ?,
  retry_count = ?,
  change_number = max((SELECT coalesce(max(change_number), 0) FROM tasks), (SELECT number FROM change_floor)) + 1
WHERE id = ? AND status IN (SELECT value FROM json_each(?)) AND lease_expires_at <= ? AND claim_count = ? AND retry_count = ? AND max_retries = ?;

COMMIT;

SELECT id
FROM agents
WHERE heartbeat < ? AND status IN (SELECT value FROM json_each(?))
ORDER BY sequence;
