SELECT id, name, task_type, payload, priority, max_retries, task_fields, cron, every, timezone, starts_at, catch_up, paused, next_at, last_at, last_task_id, created_at, updated_at, version, sequence
FROM schedules
ORDER BY name, sequence;
