BEGIN IMMEDIATE;

INSERT INTO agents (id, name, agent_type, status, capabilities, metadata, heartbeat, created_at, updated_at, "group", tags, version)
VALUES (?,?,?,?,?,?,?,?,?,?,?,?)
ON CONFLICT (id) DO UPDATE SET
  name = excluded.name,
  agent_type = excluded.agent_type,
  status = excluded.status,
  capabilities = excluded.capabilities,
  metadata = excluded.metadata,
  heartbeat = excluded.heartbeat,
  created_at = excluded.created_at,
  updated_at = excluded.updated_at,
  "group" = excluded."group",
  tags = excluded.tags,
  version = excluded.version
WHERE agents.version = excluded.version - 1;

COMMIT;
