BEGIN IMMEDIATE;

DELETE FROM agents
WHERE id = ?;

UPDATE tasks
SET
  status = ?,
  assigned_to = ?,
  started_at = ?,
  lease_expires_at = ?,
  progress = ?,
  progress_text = ?,
  updated_at = ?,
  version = version + 1,
  change_number = max((SELECT coalesce(max(change_number), 0) FROM tasks), (SELECT number FROM change_floor)) + 1
WHERE assigned_to = ? AND status IN (SELECT value FROM json_each(?));

COMMIT;
