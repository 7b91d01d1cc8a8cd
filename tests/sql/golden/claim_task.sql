BEGIN IMMEDIATE;

UPDATE tasks
SET
  status = ?,
  assigned_to = ?,
  updated_at = ?,
  version = version + 1
WHERE id = ? AND status = 'pending';

COMMIT;
