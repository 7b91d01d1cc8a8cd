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
  version = ?
WHERE id = ? AND version = ?
RETURNING version;

COMMIT;
