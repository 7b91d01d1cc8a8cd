BEGIN IMMEDIATE;

UPDATE messages
SET
  acknowledged_at = ?,
  result = ?
WHERE id = ? AND acknowledged_at IS NULL;

COMMIT;
