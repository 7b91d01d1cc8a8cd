SELECT id, name, agent_type, status, capabilities, metadata, heartbeat, created_at, updated_at, "group", tags, version, sequence
FROM agents
WHERE id = ?
ORDER BY sequence;
