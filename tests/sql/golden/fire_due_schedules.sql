SELECT id, name, task_type, payload, priority, max_retries, task_fields, cron, every, timezone, starts_at, catch_up, paused, next_at, last_at, last_task_id, created_at, updated_at, version, sequence
FROM schedules
WHERE paused = 0 AND next_at <= ?
ORDER BY next_at, sequence;

BEGIN IMMEDIATE;

UPDATE schedules
SET
  next_at = ?,
  updated_at = ?,
  version = version + 1,
  last_at = ?,
  last_task_id = ?
WHERE id = ? AND version = ? AND sequence IN (
  SELECT sequence
  FROM schedules
  WHERE id = ? AND version = ?
  ORDER BY sequence
  LIMIT ? + 0
);

SELECT 1
FROM tasks
WHERE idempotency_key = ?
LIMIT 1;

INSERT INTO tasks (id, task_type, priority, status, assigned_to, payload, result, error, retry_count, max_retries, dependencies, created_at, updated_at, started_at, completed_at, run_at, lease_expires_at, claim_count, idempotency_key, concurrency_key, required_capabilities, fails_with_dependencies, "group", tags, key_policy, trace_parent, version, progress, progress_text, past_claims, change_number)
VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?, max((SELECT coalesce(max(change_number), 0) FROM tasks), (SELECT number FROM change_floor)) + 1);

COMMIT;

SELECT id, task_type, priority, status, assigned_to, payload, result, error, retry_count, max_retries, dependencies, created_at, updated_at, started_at, completed_at, run_at, lease_expires_at, claim_count, idempotency_key, concurrency_key, required_capabilities, fails_with_dependencies, "group", tags, key_policy, trace_parent, version, progress, progress_text, past_claims, sequence
FROM tasks
WHERE id = ?
ORDER BY run_at, sequence;
