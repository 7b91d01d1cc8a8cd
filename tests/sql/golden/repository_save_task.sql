BEGIN IMMEDIATE;

INSERT INTO tasks (id, task_type, priority, status, assigned_to, payload, result, error, retry_count, max_retries, dependencies, created_at, updated_at, started_at, completed_at, run_at, lease_expires_at, claim_count, idempotency_key, concurrency_key, required_capabilities, fails_with_dependencies, "group", tags, key_policy, trace_parent, version, progress, progress_text, change_number)
VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?, max((SELECT coalesce(max(change_number), 0) FROM tasks), (SELECT number FROM change_floor)) + 1)
ON CONFLICT (id) DO UPDATE SET
  task_type = excluded.task_type,
  priority = excluded.priority,
  status = excluded.status,
  assigned_to = excluded.assigned_to,
  payload = excluded.payload,
  result = excluded.result,
  error = excluded.error,
  retry_count = excluded.retry_count,
  max_retries = excluded.max_retries,
  dependencies = excluded.dependencies,
  created_at = excluded.created_at,
  updated_at = excluded.updated_at,
  started_at = excluded.started_at,
  completed_at = excluded.completed_at,
  run_at = excluded.run_at,
  lease_expires_at = excluded.lease_expires_at,
  claim_count = max(tasks.claim_count, excluded.claim_count),
  idempotency_key = excluded.idempotency_key,
  concurrency_key = excluded.concurrency_key,
  required_capabilities = excluded.required_capabilities,
  fails_with_dependencies = excluded.fails_with_dependencies,
  "group" = excluded."group",
  tags = excluded.tags,
  key_policy = excluded.key_policy,
  trace_parent = excluded.trace_parent,
  version = excluded.version,
  progress = excluded.progress,
  progress_text = excluded.progress_text,
  change_number = max((SELECT coalesce(max(change_number), 0) FROM tasks), (SELECT number FROM change_floor)) + 1
WHERE tasks.version = excluded.version - 1 AND (tasks.status <> 'completed' OR excluded.status = 'completed');

DELETE FROM task_links
WHERE task_id = ?;

UPDATE tasks
SET
  unmet_dependencies = ?,
  is_delayed = ?,
  is_counted = ?
WHERE id = ?;

COMMIT;
