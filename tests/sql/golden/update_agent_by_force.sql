BEGIN IMMEDIATE;

UPDATE agents
SET
  name = ?,
  agent_type = ?,
  status = ?,
  capabilities = ?,
  metadata = ?,
  heartbeat = ?,
  created_at = ?,
  updated_at = ?,
  "group" = ?,
  tags = ?,
  version = version + 1
WHERE id = ?
RETURNING version;

COMMIT;
