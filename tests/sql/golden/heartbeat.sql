BEGIN IMMEDIATE;

UPDATE agents
SET
  heartbeat = ?,
  updated_at = ?,
  version = version + 1
WHERE id = ?;

COMMIT;
