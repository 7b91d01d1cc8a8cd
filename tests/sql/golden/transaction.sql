BEGIN IMMEDIATE;

INSERT INTO agents (id, name, agent_type, status, capabilities, metadata, heartbeat, created_at, updated_at, "group", tags, version)
VALUES (?,?,?,?,?,?,?,?,?,?,?,?);

SAVEPOINT level_1;

INSERT INTO tasks (id, task_type, priority, status, assigned_to, payload, result, error, retry_count, max_retries, dependencies, created_at, updated_at, started_at, completed_at, run_at, lease_expires_at, claim_count, idempotency_key, concurrency_key, required_capabilities, fails_with_dependencies, "group", tags, key_policy, trace_parent, version, progress, progress_text, past_claims, change_number)
VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?, max((SELECT coalesce(max(change_number), 0) FROM tasks), (SELECT number FROM change_floor)) + 1);

RELEASE level_1;

COMMIT;
