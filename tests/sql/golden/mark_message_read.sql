BEGIN IMMEDIATE;

UPDATE messages
SET
  read = ?
WHERE id = ?;

COMMIT;
