SELECT id, name, agent_type, status, capabilities, metadata, heartbeat, created_at, updated_at, "group", tags, version, sequence
FROM agents
ORDER BY created_at DESC, sequence DESC
LIMIT ? + 0;

SELECT assigned_to, count(*)
FROM tasks
WHERE lease_expires_at IS NOT NULL AND status IN (SELECT value FROM json_each(?))
GROUP BY assigned_to
ORDER BY assigned_to;
