BEGIN IMMEDIATE;

SAVEPOINT operation;

DELETE FROM agents
WHERE id = ?;

UPDATE tasks
SET
  status = ?,
  assigned_to = ?,
  started_at = ?,
  updated_at = ?,
  version = version + 1
WHERE assigned_to = ? AND status IN (SELECT value FROM json_each(?));

RELEASE operation;

COMMIT;
