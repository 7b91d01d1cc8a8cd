BEGIN IMMEDIATE;

UPDATE messages
SET
  from_agent = ?,
  to_agent = ?,
  message_type = ?,
  content = ?,
  read = ?,
  timestamp = ?,
  acknowledged_at = ?,
  result = ?
WHERE id = ?
RETURNING 0;

COMMIT;
