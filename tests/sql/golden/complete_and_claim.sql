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
WHERE sequence IN (
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

BEGIN IMMEDIATE;

UPDATE tasks INDEXED BY sqlite_autoindex_tasks_1
SET
  status = ?,
  result = given.column4,
  error = ?,
  lease_expires_at = ?,
  completed_at = ?,
  updated_at = ?,
  version = version + 1,
  change_number = max((SELECT coalesce(max(change_number), 0) FROM tasks), (SELECT number FROM change_floor)) + 1
FROM (VALUES (?,?,?,?),(?,?,?,?),(?,?,?,?),(?,?,?,?),(?,?,?,?),(?,?,?,?),(?,?,?,?),(?,?,?,?),(?,?,?,?),(?,?,?,?),(?,?,?,?),(?,?,?,?),(?,?,?,?),(?,?,?,?),(?,?,?,?),(?,?,?,?)) AS given
WHERE id IN (SELECT value FROM json_each(?)) AND id = given.column1 AND status IN (SELECT value FROM json_each(?)) AND assigned_to = given.column2 AND claim_count = given.column3
RETURNING id, version, completed_at, updated_at;

DELETE FROM task_links
WHERE dependency_id IN (SELECT value FROM json_each(?));

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
WHERE sequence IN (
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
