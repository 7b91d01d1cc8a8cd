BEGIN IMMEDIATE;

UPDATE schedules
SET
  paused = ?,
  updated_at = ?,
  version = version + 1
WHERE id = ? AND paused = 0
RETURNING id, name, task_type, payload, priority, max_retries, task_fields, cron, every, timezone, starts_at, catch_up, paused, next_at, last_at, last_task_id, created_at, updated_at, version, sequence;

COMMIT;
