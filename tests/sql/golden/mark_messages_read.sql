SELECT sequence
FROM messages
WHERE id = ?
ORDER BY sequence;

BEGIN IMMEDIATE;

UPDATE messages
SET
  read = ?,
  read_at = ?
WHERE to_agent = ? AND read = 0 AND sequence <= ?;

COMMIT;
