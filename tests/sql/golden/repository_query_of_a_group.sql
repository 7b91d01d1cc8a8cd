SELECT id, name, agent_type, status, capabilities, metadata, heartbeat, created_at, updated_at, "group", tags, version, sequence
FROM agents
WHERE "group" = ? AND (instr(tags, ?) = 1 OR instr(tags, ?) > 0)
ORDER BY sequence;

SELECT id, task_type, priority, status, assigned_to, payload, result, error, retry_count, max_retries, dependencies, created_at, updated_at, started_at, completed_at, run_at, lease_expires_at, claim_count, idempotency_key, concurrency_key, required_capabilities, fails_with_dependencies, "group", tags, key_policy, trace_parent, version, progress, progress_text, past_claims, sequence
FROM tasks
WHERE "group" = ? AND (instr(tags, ?) = 1 OR instr(tags, ?) > 0)
ORDER BY sequence;

SELECT id, event_type, agent_id, task_id, data, metadata, timestamp, idempotency_key, "group", tags, sequence
FROM events
WHERE "group" = ? AND (instr(tags, ?) = 1 OR instr(tags, ?) > 0)
ORDER BY sequence;

SELECT id, from_agent, to_agent, message_type, content, priority, read, read_at, timestamp, acknowledged_at, result, "group", tags, sequence
FROM messages
WHERE "group" = ? AND (instr(tags, ?) = 1 OR instr(tags, ?) > 0)
ORDER BY sequence;

SELECT id, agent_id, metric_type, value, unit, tags, timestamp, "group", sequence
FROM metrics
WHERE "group" = ? AND (instr(tags, ?) = 1 OR instr(tags, ?) > 0)
ORDER BY sequence;
