BEGIN IMMEDIATE;

INSERT INTO tasks (id, task_type, priority, status, assigned_to, payload, result, error, retry_count, max_retries, dependencies, created_at, updated_at, started_at, completed_at, run_at, lease_expires_at, claim_count, idempotency_key, concurrency_key, required_capabilities, fails_with_dependencies, "group", tags, key_policy, trace_parent, version, progress, progress_text, past_claims, change_number)
VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?, max((SELECT coalesce(max(change_number), 0) FROM tasks), (SELECT number FROM change_floor)) + 1)
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
  past_claims = CASE WHEN tasks.assigned_to IS NULL OR tasks.assigned_to = CASE WHEN excluded.status <> 'pending' THEN excluded.assigned_to END OR tasks.status = 'pending' THEN tasks.past_claims ELSE CASE WHEN json_valid(tasks.past_claims) THEN json_insert(CASE WHEN json_array_length(tasks.past_claims) < 100 THEN tasks.past_claims ELSE json_remove(tasks.past_claims, '$[0]') END, '$[#]', json_array(tasks.claim_count, tasks.assigned_to, tasks.started_at, coalesce(tasks.completed_at, ?), CASE WHEN tasks.status IN ('assigned', 'running') THEN 'released' ELSE tasks.status END, CASE WHEN tasks.status = 'failed' THEN substr(tasks.error, 1, 500) END)) ELSE tasks.past_claims END END,
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
