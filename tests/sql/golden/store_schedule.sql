SELECT id, name, task_type, payload, priority, max_retries, task_fields, cron, every, timezone, starts_at, catch_up, paused, next_at, last_at, last_task_id, created_at, updated_at, version, sequence
FROM schedules
WHERE id = ?
ORDER BY sequence;

BEGIN IMMEDIATE;

INSERT INTO schedules (id, name, task_type, payload, priority, max_retries, task_fields, cron, every, timezone, starts_at, catch_up, paused, next_at, last_at, last_task_id, created_at, updated_at, version)
VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)
ON CONFLICT (id) DO UPDATE SET
  name = excluded.name,
  task_type = excluded.task_type,
  payload = excluded.payload,
  priority = excluded.priority,
  max_retries = excluded.max_retries,
  task_fields = excluded.task_fields,
  cron = excluded.cron,
  every = excluded.every,
  timezone = excluded.timezone,
  starts_at = excluded.starts_at,
  catch_up = excluded.catch_up,
  paused = excluded.paused,
  next_at = excluded.next_at,
  last_at = excluded.last_at,
  last_task_id = excluded.last_task_id,
  created_at = excluded.created_at,
  updated_at = excluded.updated_at,
  version = excluded.version
WHERE schedules.version = excluded.version - 1;

COMMIT;
