BEGIN IMMEDIATE;

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

COMMIT;
