BEGIN IMMEDIATE;

INSERT INTO tasks (id, task_type, priority, status, assigned_to, payload, result, error, retry_count, max_retries, dependencies, created_at, updated_at, started_at, completed_at, run_at, lease_expires_at, claim_count, idempotency_key, concurrency_key, required_capabilities, fails_with_dependencies, "group", tags, key_policy, trace_parent, version, progress, progress_text, past_claims, change_number)
VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?, max((SELECT coalesce(max(change_number), 0) FROM tasks), (SELECT number FROM change_floor)) + 1);

UPDATE tasks
SET
  is_counted = ?
WHERE id = ?;

COMMIT;

BEGIN IMMEDIATE;

SELECT 1
FROM task_links
WHERE dependency_id = ?
LIMIT 1;

SELECT 1
FROM tasks
WHERE id = ? AND status IN (SELECT value FROM json_each(?))
LIMIT 1;

INSERT INTO tasks (id, task_type, priority, status, assigned_to, payload, result, error, retry_count, max_retries, dependencies, created_at, updated_at, started_at, completed_at, run_at, lease_expires_at, claim_count, idempotency_key, concurrency_key, required_capabilities, fails_with_dependencies, "group", tags, key_policy, trace_parent, version, progress, progress_text, past_claims, change_number)
VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?, max((SELECT coalesce(max(change_number), 0) FROM tasks), (SELECT number FROM change_floor)) + 1);

INSERT INTO task_links (id, task_id, dependency_id)
VALUES (?,?,?);

DELETE FROM task_links
WHERE task_id = ? AND dependency_id IN (SELECT id FROM tasks WHERE id = ? AND status = 'completed');

UPDATE tasks
SET
  unmet_dependencies = (SELECT count(*) FROM task_links WHERE task_links.task_id = tasks.id)
WHERE id = ?;

COMMIT;

SELECT id, task_type, priority, status, assigned_to, payload, result, error, retry_count, max_retries, dependencies, created_at, updated_at, started_at, completed_at, run_at, lease_expires_at, claim_count, idempotency_key, concurrency_key, required_capabilities, fails_with_dependencies, "group", tags, key_policy, trace_parent, version, progress, progress_text, past_claims, sequence
FROM tasks
WHERE id = ?
ORDER BY sequence;

BEGIN IMMEDIATE;

SELECT 1
FROM task_links
WHERE dependency_id = ?
LIMIT 1;

COMMIT;

BEGIN IMMEDIATE;

SAVEPOINT operation;

UPDATE tasks
SET
  status = ?,
  error = ?,
  lease_expires_at = ?,
  completed_at = ?,
  updated_at = ?,
  version = version + 1,
  change_number = max((SELECT coalesce(max(change_number), 0) FROM tasks), (SELECT number FROM change_floor)) + 1
WHERE id = ? AND status IN (SELECT value FROM json_each(?)) AND assigned_to = ? AND claim_count = ? AND retry_count = ? AND max_retries = ?
RETURNING id, task_type, priority, status, assigned_to, payload, result, error, retry_count, max_retries, dependencies, created_at, updated_at, started_at, completed_at, run_at, lease_expires_at, claim_count, idempotency_key, concurrency_key, required_capabilities, fails_with_dependencies, "group", tags, key_policy, trace_parent, version, progress, progress_text, past_claims, unmet_dependencies, is_delayed, is_counted, change_number, sequence;

RELEASE operation;

SELECT task_id, dependency_id
FROM task_links
WHERE dependency_id = ?
ORDER BY sequence;

SELECT task_id, dependency_id
FROM task_links
WHERE dependency_id = ?
ORDER BY sequence;

SELECT id
FROM tasks
WHERE id = ? AND status = 'pending' AND fails_with_dependencies = ?
ORDER BY sequence;

UPDATE tasks
SET
  status = ?,
  error = ?,
  lease_expires_at = ?,
  completed_at = ?,
  updated_at = ?,
  version = version + 1,
  change_number = max((SELECT coalesce(max(change_number), 0) FROM tasks), (SELECT number FROM change_floor)) + 1
WHERE id = ? AND status = 'pending' AND fails_with_dependencies = ?;

SELECT task_id, dependency_id
FROM task_links
WHERE dependency_id IN (SELECT value FROM json_each(?))
ORDER BY sequence;

COMMIT;
