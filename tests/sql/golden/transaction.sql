BEGIN IMMEDIATE;

INSERT INTO agents (id, name, agent_type, status, capabilities, metadata, heartbeat, created_at, updated_at, version)
VALUES
  (?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

SAVEPOINT level_1;

INSERT INTO tasks (id, task_type, priority, status, assigned_to, payload, result, error, retry_count, max_retries, dependencies, created_at, updated_at, started_at, completed_at, version)
VALUES
  (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

RELEASE level_1;

COMMIT;
