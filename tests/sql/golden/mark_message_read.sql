BEGIN IMMEDIATE;

UPDATE messages
SET
  read = ?,
  read_at = ?
WHERE id = ? AND read = 0;

COMMIT;
