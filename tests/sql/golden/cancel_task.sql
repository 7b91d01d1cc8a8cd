BEGIN IMMEDIATE;

SELECT 1
FROM task_links
WHERE dependency_id = ?
LIMIT 1;

UPDATE tasks
SET
  status = ?,
  lease_expires_at = ?,
  completed_at = ?,
  updated_at = ?,
  version = version + 1,
  change_number = max((SELECT coalesce(max(change_number), 0) FROM tasks), (SELECT number FROM change_floor)) + 1
WHERE id = ? AND status IN (SELECT value FROM json_each(?));

COMMIT;
