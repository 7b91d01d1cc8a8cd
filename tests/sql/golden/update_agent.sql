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
  version = ?
WHERE id = ? AND version = ?
RETURNING version;

COMMIT;
