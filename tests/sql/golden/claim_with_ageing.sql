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

COMMIT;

BEGIN IMMEDIATE;

SELECT id, running, per_key, starts, per_seconds, sequence
FROM task_limits
ORDER BY sequence;

WITH RECURSIVE heads AS (
  SELECT * FROM (
    SELECT required_capabilities FROM tasks
    WHERE status = 'pending' AND unmet_dependencies = 0 AND is_delayed = 0 AND required_capabilities IS NOT NULL
    ORDER BY required_capabilities, task_type, priority DESC, sequence
    LIMIT 1
  ) AS first
  UNION ALL
  SELECT next.required_capabilities FROM heads JOIN tasks AS next ON next.sequence = (
    SELECT sequence FROM tasks
    WHERE status = 'pending' AND unmet_dependencies = 0 AND is_delayed = 0 AND required_capabilities IS NOT NULL AND required_capabilities > heads.required_capabilities
    ORDER BY required_capabilities, task_type, priority DESC, sequence
    LIMIT 1
  )
)
SELECT required_capabilities
FROM heads
LIMIT ? + 0;

SELECT id, priority, sequence, task_type, concurrency_key, created_at, run_at
FROM tasks
WHERE status = 'pending' AND unmet_dependencies = 0 AND is_delayed = 0 AND task_type = ? AND priority = ?
ORDER BY priority DESC, sequence
LIMIT ? + 0;

SELECT id, priority, sequence, task_type, concurrency_key, created_at, run_at
FROM tasks
WHERE status = 'pending' AND unmet_dependencies = 0 AND is_delayed = 0 AND task_type = ? AND priority = ?
ORDER BY priority DESC, sequence
LIMIT ? + 0;

SELECT id, priority, sequence, task_type, concurrency_key, created_at, run_at
FROM tasks
WHERE status = 'pending' AND unmet_dependencies = 0 AND is_delayed = 0 AND task_type = ? AND priority = ?
ORDER BY priority DESC, sequence
LIMIT ? + 0;

SELECT id, priority, sequence, task_type, concurrency_key, created_at, run_at
FROM tasks
WHERE status = 'pending' AND unmet_dependencies = 0 AND is_delayed = 0 AND task_type = ? AND priority = ?
ORDER BY priority DESC, sequence
LIMIT ? + 0;

COMMIT;
