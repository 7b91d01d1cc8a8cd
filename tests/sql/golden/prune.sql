SELECT sequence
FROM tasks
WHERE sequence <= ?
ORDER BY sequence DESC
LIMIT ? + 0;

SELECT sequence, id
FROM tasks
WHERE +status IN (SELECT value FROM json_each(?)) AND completed_at < ? AND sequence > ? AND sequence <= ?
ORDER BY sequence
LIMIT ? + 0;

SELECT sequence
FROM tasks
WHERE sequence <= ?
ORDER BY sequence DESC
LIMIT ? + 0;

SELECT sequence, id
FROM tasks
WHERE +status IN (SELECT value FROM json_each(?)) AND completed_at IS NULL AND updated_at < ? AND sequence > ? AND sequence <= ?
ORDER BY sequence
LIMIT ? + 0;

SELECT id
FROM tasks
WHERE id IN (SELECT task_id FROM task_links WHERE dependency_id IN (SELECT value FROM json_each(?))) AND status IN (SELECT value FROM json_each(?))
ORDER BY sequence;

SELECT id
FROM tasks
WHERE id IN (SELECT value FROM json_each(?)) AND unmet_dependencies > ?
ORDER BY sequence;

BEGIN IMMEDIATE;

SELECT 1
FROM tasks
WHERE id IN (SELECT task_id FROM task_links WHERE dependency_id IN (SELECT value FROM json_each(?))) AND status IN (SELECT value FROM json_each(?))
LIMIT 1;

DELETE FROM tasks
WHERE id IN (SELECT value FROM json_each(?)) AND unmet_dependencies = 0 AND status IN (SELECT value FROM json_each(?)) AND completed_at IS NULL AND updated_at < ?;

COMMIT;

SELECT sequence
FROM events
WHERE sequence <= ?
ORDER BY sequence DESC
LIMIT ? + 0;

SELECT sequence, id
FROM events
WHERE timestamp < ? AND sequence > ? AND sequence <= ?
ORDER BY sequence
LIMIT ? + 0;

BEGIN IMMEDIATE;

DELETE FROM events
WHERE id IN (SELECT value FROM json_each(?)) AND timestamp < ?;

COMMIT;

SELECT sequence
FROM messages
WHERE sequence <= ?
ORDER BY sequence DESC
LIMIT ? + 0;

SELECT sequence, id
FROM messages
WHERE read = 1 AND timestamp < ? AND sequence > ? AND sequence <= ?
ORDER BY sequence
LIMIT ? + 0;

BEGIN IMMEDIATE;

DELETE FROM messages
WHERE id IN (SELECT value FROM json_each(?)) AND read = 1 AND timestamp < ?;

COMMIT;

SELECT sequence
FROM messages
WHERE sequence <= ?
ORDER BY sequence DESC
LIMIT ? + 0;

SELECT sequence, id
FROM messages
WHERE read = 0 AND acknowledged_at IS NOT NULL AND timestamp < ? AND sequence > ? AND sequence <= ?
ORDER BY sequence
LIMIT ? + 0;

SELECT sequence
FROM metrics
WHERE sequence <= ?
ORDER BY sequence DESC
LIMIT ? + 0;

SELECT sequence, id
FROM metrics
WHERE timestamp < ? AND sequence > ? AND sequence <= ?
ORDER BY sequence
LIMIT ? + 0;

BEGIN IMMEDIATE;

DELETE FROM metrics
WHERE id IN (SELECT value FROM json_each(?)) AND timestamp < ?;

COMMIT;

SELECT id
FROM documents
WHERE expires_at <= ?
ORDER BY expires_at, sequence
LIMIT ? + 0;

SELECT sequence
FROM agents
WHERE sequence <= ?
ORDER BY sequence DESC
LIMIT ? + 0;

SELECT sequence, id
FROM agents
WHERE +status IN (SELECT value FROM json_each(?)) AND updated_at < ? AND sequence > ? AND sequence <= ?
ORDER BY sequence
LIMIT ? + 0;

BEGIN IMMEDIATE;

DELETE FROM agents
WHERE id = ? AND status IN (SELECT value FROM json_each(?)) AND updated_at < ?;

UPDATE tasks
SET
  status = ?,
  assigned_to = ?,
  started_at = ?,
  lease_expires_at = ?,
  progress = ?,
  progress_text = ?,
  past_claims = CASE WHEN assigned_to IS NULL THEN past_claims ELSE CASE WHEN json_valid(past_claims) THEN json_insert(CASE WHEN json_array_length(past_claims) < 100 THEN past_claims ELSE json_remove(past_claims, '$[0]') END, '$[#]', json_array(claim_count, assigned_to, started_at, ?, 'released', ?)) ELSE past_claims END END,
  updated_at = ?,
  version = version + 1,
  change_number = max((SELECT coalesce(max(change_number), 0) FROM tasks), (SELECT number FROM change_floor)) + 1
WHERE assigned_to = ? AND status IN (SELECT value FROM json_each(?));

DELETE FROM agents
WHERE id = ? AND status IN (SELECT value FROM json_each(?)) AND updated_at < ?;

UPDATE tasks
SET
  status = ?,
  assigned_to = ?,
  started_at = ?,
  lease_expires_at = ?,
  progress = ?,
  progress_text = ?,
  past_claims = CASE WHEN assigned_to IS NULL THEN past_claims ELSE CASE WHEN json_valid(past_claims) THEN json_insert(CASE WHEN json_array_length(past_claims) < 100 THEN past_claims ELSE json_remove(past_claims, '$[0]') END, '$[#]', json_array(claim_count, assigned_to, started_at, ?, 'released', ?)) ELSE past_claims END END,
  updated_at = ?,
  version = version + 1,
  change_number = max((SELECT coalesce(max(change_number), 0) FROM tasks), (SELECT number FROM change_floor)) + 1
WHERE assigned_to = ? AND status IN (SELECT value FROM json_each(?));

DELETE FROM agents
WHERE id = ? AND status IN (SELECT value FROM json_each(?)) AND updated_at < ?;

UPDATE tasks
SET
  status = ?,
  assigned_to = ?,
  started_at = ?,
  lease_expires_at = ?,
  progress = ?,
  progress_text = ?,
  past_claims = CASE WHEN assigned_to IS NULL THEN past_claims ELSE CASE WHEN json_valid(past_claims) THEN json_insert(CASE WHEN json_array_length(past_claims) < 100 THEN past_claims ELSE json_remove(past_claims, '$[0]') END, '$[#]', json_array(claim_count, assigned_to, started_at, ?, 'released', ?)) ELSE past_claims END END,
  updated_at = ?,
  version = version + 1,
  change_number = max((SELECT coalesce(max(change_number), 0) FROM tasks), (SELECT number FROM change_floor)) + 1
WHERE assigned_to = ? AND status IN (SELECT value FROM json_each(?));

DELETE FROM agents
WHERE id = ? AND status IN (SELECT value FROM json_each(?)) AND updated_at < ?;

UPDATE tasks
SET
  status = ?,
  assigned_to = ?,
  started_at = ?,
  lease_expires_at = ?,
  progress = ?,
  progress_text = ?,
  past_claims = CASE WHEN assigned_to IS NULL THEN past_claims ELSE CASE WHEN json_valid(past_claims) THEN json_insert(CASE WHEN json_array_length(past_claims) < 100 THEN past_claims ELSE json_remove(past_claims, '$[0]') END, '$[#]', json_array(claim_count, assigned_to, started_at, ?, 'released', ?)) ELSE past_claims END END,
  updated_at = ?,
  version = version + 1,
  change_number = max((SELECT coalesce(max(change_number), 0) FROM tasks), (SELECT number FROM change_floor)) + 1
WHERE assigned_to = ? AND status IN (SELECT value FROM json_each(?));

DELETE FROM agents
WHERE id = ? AND status IN (SELECT value FROM json_each(?)) AND updated_at < ?;

UPDATE tasks
SET
  status = ?,
  assigned_to = ?,
  started_at = ?,
  lease_expires_at = ?,
  progress = ?,
  progress_text = ?,
  past_claims = CASE WHEN assigned_to IS NULL THEN past_claims ELSE CASE WHEN json_valid(past_claims) THEN json_insert(CASE WHEN json_array_length(past_claims) < 100 THEN past_claims ELSE json_remove(past_claims, '$[0]') END, '$[#]', json_array(claim_count, assigned_to, started_at, ?, 'released', ?)) ELSE past_claims END END,
  updated_at = ?,
  version = version + 1,
  change_number = max((SELECT coalesce(max(change_number), 0) FROM tasks), (SELECT number FROM change_floor)) + 1
WHERE assigned_to = ? AND status IN (SELECT value FROM json_each(?));

DELETE FROM agents
WHERE id = ? AND status IN (SELECT value FROM json_each(?)) AND updated_at < ?;

UPDATE tasks
SET
  status = ?,
  assigned_to = ?,
  started_at = ?,
  lease_expires_at = ?,
  progress = ?,
  progress_text = ?,
  past_claims = CASE WHEN assigned_to IS NULL THEN past_claims ELSE CASE WHEN json_valid(past_claims) THEN json_insert(CASE WHEN json_array_length(past_claims) < 100 THEN past_claims ELSE json_remove(past_claims, '$[0]') END, '$[#]', json_array(claim_count, assigned_to, started_at, ?, 'released', ?)) ELSE past_claims END END,
  updated_at = ?,
  version = version + 1,
  change_number = max((SELECT coalesce(max(change_number), 0) FROM tasks), (SELECT number FROM change_floor)) + 1
WHERE assigned_to = ? AND status IN (SELECT value FROM json_each(?));

DELETE FROM agents
WHERE id = ? AND status IN (SELECT value FROM json_each(?)) AND updated_at < ?;

UPDATE tasks
SET
  status = ?,
  assigned_to = ?,
  started_at = ?,
  lease_expires_at = ?,
  progress = ?,
  progress_text = ?,
  past_claims = CASE WHEN assigned_to IS NULL THEN past_claims ELSE CASE WHEN json_valid(past_claims) THEN json_insert(CASE WHEN json_array_length(past_claims) < 100 THEN past_claims ELSE json_remove(past_claims, '$[0]') END, '$[#]', json_array(claim_count, assigned_to, started_at, ?, 'released', ?)) ELSE past_claims END END,
  updated_at = ?,
  version = version + 1,
  change_number = max((SELECT coalesce(max(change_number), 0) FROM tasks), (SELECT number FROM change_floor)) + 1
WHERE assigned_to = ? AND status IN (SELECT value FROM json_each(?));

DELETE FROM agents
WHERE id = ? AND status IN (SELECT value FROM json_each(?)) AND updated_at < ?;

UPDATE tasks
SET
  status = ?,
  assigned_to = ?,
  started_at = ?,
  lease_expires_at = ?,
  progress = ?,
  progress_text = ?,
  past_claims = CASE WHEN assigned_to IS NULL THEN past_claims ELSE CASE WHEN json_valid(past_claims) THEN json_insert(CASE WHEN json_array_length(past_claims) < 100 THEN past_claims ELSE json_remove(past_claims, '$[0]') END, '$[#]', json_array(claim_count, assigned_to, started_at, ?, 'released', ?)) ELSE past_claims END END,
  updated_at = ?,
  version = version + 1,
  change_number = max((SELECT coalesce(max(change_number), 0) FROM tasks), (SELECT number FROM change_floor)) + 1
WHERE assigned_to = ? AND status IN (SELECT value FROM json_each(?));

DELETE FROM agents
WHERE id = ? AND status IN (SELECT value FROM json_each(?)) AND updated_at < ?;

UPDATE tasks
SET
  status = ?,
  assigned_to = ?,
  started_at = ?,
  lease_expires_at = ?,
  progress = ?,
  progress_text = ?,
  past_claims = CASE WHEN assigned_to IS NULL THEN past_claims ELSE CASE WHEN json_valid(past_claims) THEN json_insert(CASE WHEN json_array_length(past_claims) < 100 THEN past_claims ELSE json_remove(past_claims, '$[0]') END, '$[#]', json_array(claim_count, assigned_to, started_at, ?, 'released', ?)) ELSE past_claims END END,
  updated_at = ?,
  version = version + 1,
  change_number = max((SELECT coalesce(max(change_number), 0) FROM tasks), (SELECT number FROM change_floor)) + 1
WHERE assigned_to = ? AND status IN (SELECT value FROM json_each(?));

DELETE FROM agents
WHERE id = ? AND status IN (SELECT value FROM json_each(?)) AND updated_at < ?;

UPDATE tasks
SET
  status = ?,
  assigned_to = ?,
  started_at = ?,
  lease_expires_at = ?,
  progress = ?,
  progress_text = ?,
  past_claims = CASE WHEN assigned_to IS NULL THEN past_claims ELSE CASE WHEN json_valid(past_claims) THEN json_insert(CASE WHEN json_array_length(past_claims) < 100 THEN past_claims ELSE json_remove(past_claims, '$[0]') END, '$[#]', json_array(claim_count, assigned_to, started_at, ?, 'released', ?)) ELSE past_claims END END,
  updated_at = ?,
  version = version + 1,
  change_number = max((SELECT coalesce(max(change_number), 0) FROM tasks), (SELECT number FROM change_floor)) + 1
WHERE assigned_to = ? AND status IN (SELECT value FROM json_each(?));

DELETE FROM agents
WHERE id = ? AND status IN (SELECT value FROM json_each(?)) AND updated_at < ?;

UPDATE tasks
SET
  status = ?,
  assigned_to = ?,
  started_at = ?,
  lease_expires_at = ?,
  progress = ?,
  progress_text = ?,
  past_claims = CASE WHEN assigned_to IS NULL THEN past_claims ELSE CASE WHEN json_valid(past_claims) THEN json_insert(CASE WHEN json_array_length(past_claims) < 100 THEN past_claims ELSE json_remove(past_claims, '$[0]') END, '$[#]', json_array(claim_count, assigned_to, started_at, ?, 'released', ?)) ELSE past_claims END END,
  updated_at = ?,
  version = version + 1,
  change_number = max((SELECT coalesce(max(change_number), 0) FROM tasks), (SELECT number FROM change_floor)) + 1
WHERE assigned_to = ? AND status IN (SELECT value FROM json_each(?));

DELETE FROM agents
WHERE id = ? AND status IN (SELECT value FROM json_each(?)) AND updated_at < ?;

UPDATE tasks
SET
  status = ?,
  assigned_to = ?,
  started_at = ?,
  lease_expires_at = ?,
  progress = ?,
  progress_text = ?,
  past_claims = CASE WHEN assigned_to IS NULL THEN past_claims ELSE CASE WHEN json_valid(past_claims) THEN json_insert(CASE WHEN json_array_length(past_claims) < 100 THEN past_claims ELSE json_remove(past_claims, '$[0]') END, '$[#]', json_array(claim_count, assigned_to, started_at, ?, 'released', ?)) ELSE past_claims END END,
  updated_at = ?,
  version = version + 1,
  change_number = max((SELECT coalesce(max(change_number), 0) FROM tasks), (SELECT number FROM change_floor)) + 1
WHERE assigned_to = ? AND status IN (SELECT value FROM json_each(?));

DELETE FROM agents
WHERE id = ? AND status IN (SELECT value FROM json_each(?)) AND updated_at < ?;

UPDATE tasks
SET
  status = ?,
  assigned_to = ?,
  started_at = ?,
  lease_expires_at = ?,
  progress = ?,
  progress_text = ?,
  past_claims = CASE WHEN assigned_to IS NULL THEN past_claims ELSE CASE WHEN json_valid(past_claims) THEN json_insert(CASE WHEN json_array_length(past_claims) < 100 THEN past_claims ELSE json_remove(past_claims, '$[0]') END, '$[#]', json_array(claim_count, assigned_to, started_at, ?, 'released', ?)) ELSE past_claims END END,
  updated_at = ?,
  version = version + 1,
  change_number = max((SELECT coalesce(max(change_number), 0) FROM tasks), (SELECT number FROM change_floor)) + 1
WHERE assigned_to = ? AND status IN (SELECT value FROM json_each(?));

DELETE FROM agents
WHERE id = ? AND status IN (SELECT value FROM json_each(?)) AND updated_at < ?;

UPDATE tasks
SET
  status = ?,
  assigned_to = ?,
  started_at = ?,
  lease_expires_at = ?,
  progress = ?,
  progress_text = ?,
  past_claims = CASE WHEN assigned_to IS NULL THEN past_claims ELSE CASE WHEN json_valid(past_claims) THEN json_insert(CASE WHEN json_array_length(past_claims) < 100 THEN past_claims ELSE json_remove(past_claims, '$[0]') END, '$[#]', json_array(claim_count, assigned_to, started_at, ?, 'released', ?)) ELSE past_claims END END,
  updated_at = ?,
  version = version + 1,
  change_number = max((SELECT coalesce(max(change_number), 0) FROM tasks), (SELECT number FROM change_floor)) + 1
WHERE assigned_to = ? AND status IN (SELECT value FROM json_each(?));

DELETE FROM agents
WHERE id = ? AND status IN (SELECT value FROM json_each(?)) AND updated_at < ?;

UPDATE tasks
SET
  status = ?,
  assigned_to = ?,
  started_at = ?,
  lease_expires_at = ?,
  progress = ?,
  progress_text = ?,
  past_claims = CASE WHEN assigned_to IS NULL THEN past_claims ELSE CASE WHEN json_valid(past_claims) THEN json_insert(CASE WHEN json_array_length(past_claims) < 100 THEN past_claims ELSE json_remove(past_claims, '$[0]') END, '$[#]', json_array(claim_count, assigned_to, started_at, ?, 'released', ?)) ELSE past_claims END END,
  updated_at = ?,
  version = version + 1,
  change_number = max((SELECT coalesce(max(change_number), 0) FROM tasks), (SELECT number FROM change_floor)) + 1
WHERE assigned_to = ? AND status IN (SELECT value FROM json_each(?));

DELETE FROM agents
WHERE id = ? AND status IN (SELECT value FROM json_each(?)) AND updated_at < ?;

UPDATE tasks
SET
  status = ?,
  assigned_to = ?,
  started_at = ?,
  lease_expires_at = ?,
  progress = ?,
  progress_text = ?,
  past_claims = CASE WHEN assigned_to IS NULL THEN past_claims ELSE CASE WHEN json_valid(past_claims) THEN json_insert(CASE WHEN json_array_length(past_claims) < 100 THEN past_claims ELSE json_remove(past_claims, '$[0]') END, '$[#]', json_array(claim_count, assigned_to, started_at, ?, 'released', ?)) ELSE past_claims END END,
  updated_at = ?,
  version = version + 1,
  change_number = max((SELECT coalesce(max(change_number), 0) FROM tasks), (SELECT number FROM change_floor)) + 1
WHERE assigned_to = ? AND status IN (SELECT value FROM json_each(?));

DELETE FROM agents
WHERE id = ? AND status IN (SELECT value FROM json_each(?)) AND updated_at < ?;

UPDATE tasks
SET
  status = ?,
  assigned_to = ?,
  started_at = ?,
  lease_expires_at = ?,
  progress = ?,
  progress_text = ?,
  past_claims = CASE WHEN assigned_to IS NULL THEN past_claims ELSE CASE WHEN json_valid(past_claims) THEN json_insert(CASE WHEN json_array_length(past_claims) < 100 THEN past_claims ELSE json_remove(past_claims, '$[0]') END, '$[#]', json_array(claim_count, assigned_to, started_at, ?, 'released', ?)) ELSE past_claims END END,
  updated_at = ?,
  version = version + 1,
  change_number = max((SELECT coalesce(max(change_number), 0) FROM tasks), (SELECT number FROM change_floor)) + 1
WHERE assigned_to = ? AND status IN (SELECT value FROM json_each(?));

DELETE FROM agents
WHERE id = ? AND status IN (SELECT value FROM json_each(?)) AND updated_at < ?;

UPDATE tasks
SET
  status = ?,
  assigned_to = ?,
  started_at = ?,
  lease_expires_at = ?,
  progress = ?,
  progress_text = ?,
  past_claims = CASE WHEN assigned_to IS NULL THEN past_claims ELSE CASE WHEN json_valid(past_claims) THEN json_insert(CASE WHEN json_array_length(past_claims) < 100 THEN past_claims ELSE json_remove(past_claims, '$[0]') END, '$[#]', json_array(claim_count, assigned_to, started_at, ?, 'released', ?)) ELSE past_claims END END,
  updated_at = ?,
  version = version + 1,
  change_number = max((SELECT coalesce(max(change_number), 0) FROM tasks), (SELECT number FROM change_floor)) + 1
WHERE assigned_to = ? AND status IN (SELECT value FROM json_each(?));

DELETE FROM agents
WHERE id = ? AND status IN (SELECT value FROM json_each(?)) AND updated_at < ?;

UPDATE tasks
SET
  status = ?,
  assigned_to = ?,
  started_at = ?,
  lease_expires_at = ?,
  progress = ?,
  progress_text = ?,
  past_claims = CASE WHEN assigned_to IS NULL THEN past_claims ELSE CASE WHEN json_valid(past_claims) THEN json_insert(CASE WHEN json_array_length(past_claims) < 100 THEN past_claims ELSE json_remove(past_claims, '$[0]') END, '$[#]', json_array(claim_count, assigned_to, started_at, ?, 'released', ?)) ELSE past_claims END END,
  updated_at = ?,
  version = version + 1,
  change_number = max((SELECT coalesce(max(change_number), 0) FROM tasks), (SELECT number FROM change_floor)) + 1
WHERE assigned_to = ? AND status IN (SELECT value FROM json_each(?));

DELETE FROM agents
WHERE id = ? AND status IN (SELECT value FROM json_each(?)) AND updated_at < ?;

UPDATE tasks
SET
  status = ?,
  assigned_to = ?,
  started_at = ?,
  lease_expires_at = ?,
  progress = ?,
  progress_text = ?,
  past_claims = CASE WHEN assigned_to IS NULL THEN past_claims ELSE CASE WHEN json_valid(past_claims) THEN json_insert(CASE WHEN json_array_length(past_claims) < 100 THEN past_claims ELSE json_remove(past_claims, '$[0]') END, '$[#]', json_array(claim_count, assigned_to, started_at, ?, 'released', ?)) ELSE past_claims END END,
  updated_at = ?,
  version = version + 1,
  change_number = max((SELECT coalesce(max(change_number), 0) FROM tasks), (SELECT number FROM change_floor)) + 1
WHERE assigned_to = ? AND status IN (SELECT value FROM json_each(?));

DELETE FROM agents
WHERE id = ? AND status IN (SELECT value FROM json_each(?)) AND updated_at < ?;

UPDATE tasks
SET
  status = ?,
  assigned_to = ?,
  started_at = ?,
  lease_expires_at = ?,
  progress = ?,
  progress_text = ?,
  past_claims = CASE WHEN assigned_to IS NULL THEN past_claims ELSE CASE WHEN json_valid(past_claims) THEN json_insert(CASE WHEN json_array_length(past_claims) < 100 THEN past_claims ELSE json_remove(past_claims, '$[0]') END, '$[#]', json_array(claim_count, assigned_to, started_at, ?, 'released', ?)) ELSE past_claims END END,
  updated_at = ?,
  version = version + 1,
  change_number = max((SELECT coalesce(max(change_number), 0) FROM tasks), (SELECT number FROM change_floor)) + 1
WHERE assigned_to = ? AND status IN (SELECT value FROM json_each(?));

DELETE FROM agents
WHERE id = ? AND status IN (SELECT value FROM json_each(?)) AND updated_at < ?;

UPDATE tasks
SET
  status = ?,
  assigned_to = ?,
  started_at = ?,
  lease_expires_at = ?,
  progress = ?,
  progress_text = ?,
  past_claims = CASE WHEN assigned_to IS NULL THEN past_claims ELSE CASE WHEN json_valid(past_claims) THEN json_insert(CASE WHEN json_array_length(past_claims) < 100 THEN past_claims ELSE json_remove(past_claims, '$[0]') END, '$[#]', json_array(claim_count, assigned_to, started_at, ?, 'released', ?)) ELSE past_claims END END,
  updated_at = ?,
  version = version + 1,
  change_number = max((SELECT coalesce(max(change_number), 0) FROM tasks), (SELECT number FROM change_floor)) + 1
WHERE assigned_to = ? AND status IN (SELECT value FROM json_each(?));

DELETE FROM agents
WHERE id = ? AND status IN (SELECT value FROM json_each(?)) AND updated_at < ?;

UPDATE tasks
SET
  status = ?,
  assigned_to = ?,
  started_at = ?,
  lease_expires_at = ?,
  progress = ?,
  progress_text = ?,
  past_claims = CASE WHEN assigned_to IS NULL THEN past_claims ELSE CASE WHEN json_valid(past_claims) THEN json_insert(CASE WHEN json_array_length(past_claims) < 100 THEN past_claims ELSE json_remove(past_claims, '$[0]') END, '$[#]', json_array(claim_count, assigned_to, started_at, ?, 'released', ?)) ELSE past_claims END END,
  updated_at = ?,
  version = version + 1,
  change_number = max((SELECT coalesce(max(change_number), 0) FROM tasks), (SELECT number FROM change_floor)) + 1
WHERE assigned_to = ? AND status IN (SELECT value FROM json_each(?));

DELETE FROM agents
WHERE id = ? AND status IN (SELECT value FROM json_each(?)) AND updated_at < ?;

UPDATE tasks
SET
  status = ?,
  assigned_to = ?,
  started_at = ?,
  lease_expires_at = ?,
  progress = ?,
  progress_text = ?,
  past_claims = CASE WHEN assigned_to IS NULL THEN past_claims ELSE CASE WHEN json_valid(past_claims) THEN json_insert(CASE WHEN json_array_length(past_claims) < 100 THEN past_claims ELSE json_remove(past_claims, '$[0]') END, '$[#]', json_array(claim_count, assigned_to, started_at, ?, 'released', ?)) ELSE past_claims END END,
  updated_at = ?,
  version = version + 1,
  change_number = max((SELECT coalesce(max(change_number), 0) FROM tasks), (SELECT number FROM change_floor)) + 1
WHERE assigned_to = ? AND status IN (SELECT value FROM json_each(?));

DELETE FROM agents
WHERE id = ? AND status IN (SELECT value FROM json_each(?)) AND updated_at < ?;

UPDATE tasks
SET
  status = ?,
  assigned_to = ?,
  started_at = ?,
  lease_expires_at = ?,
  progress = ?,
  progress_text = ?,
  past_claims = CASE WHEN assigned_to IS NULL THEN past_claims ELSE CASE WHEN json_valid(past_claims) THEN json_insert(CASE WHEN json_array_length(past_claims) < 100 THEN past_claims ELSE json_remove(past_claims, '$[0]') END, '$[#]', json_array(claim_count, assigned_to, started_at, ?, 'released', ?)) ELSE past_claims END END,
  updated_at = ?,
  version = version + 1,
  change_number = max((SELECT coalesce(max(change_number), 0) FROM tasks), (SELECT number FROM change_floor)) + 1
WHERE assigned_to = ? AND status IN (SELECT value FROM json_each(?));

DELETE FROM agents
WHERE id = ? AND status IN (SELECT value FROM json_each(?)) AND updated_at < ?;

UPDATE tasks
SET
  status = ?,
  assigned_to = ?,
  started_at = ?,
  lease_expires_at = ?,
  progress = ?,
  progress_text = ?,
  past_claims = CASE WHEN assigned_to IS NULL THEN past_claims ELSE CASE WHEN json_valid(past_claims) THEN json_insert(CASE WHEN json_array_length(past_claims) < 100 THEN past_claims ELSE json_remove(past_claims, '$[0]') END, '$[#]', json_array(claim_count, assigned_to, started_at, ?, 'released', ?)) ELSE past_claims END END,
  updated_at = ?,
  version = version + 1,
  change_number = max((SELECT coalesce(max(change_number), 0) FROM tasks), (SELECT number FROM change_floor)) + 1
WHERE assigned_to = ? AND status IN (SELECT value FROM json_each(?));

DELETE FROM agents
WHERE id = ? AND status IN (SELECT value FROM json_each(?)) AND updated_at < ?;

UPDATE tasks
SET
  status = ?,
  assigned_to = ?,
  started_at = ?,
  lease_expires_at = ?,
  progress = ?,
  progress_text = ?,
  past_claims = CASE WHEN assigned_to IS NULL THEN past_claims ELSE CASE WHEN json_valid(past_claims) THEN json_insert(CASE WHEN json_array_length(past_claims) < 100 THEN past_claims ELSE json_remove(past_claims, '$[0]') END, '$[#]', json_array(claim_count, assigned_to, started_at, ?, 'released', ?)) ELSE past_claims END END,
  updated_at = ?,
  version = version + 1,
  change_number = max((SELECT coalesce(max(change_number), 0) FROM tasks), (SELECT number FROM change_floor)) + 1
WHERE assigned_to = ? AND status IN (SELECT value FROM json_each(?));

DELETE FROM agents
WHERE id = ? AND status IN (SELECT value FROM json_each(?)) AND updated_at < ?;

UPDATE tasks
SET
  status = ?,
  assigned_to = ?,
  started_at = ?,
  lease_expires_at = ?,
  progress = ?,
  progress_text = ?,
  past_claims = CASE WHEN assigned_to IS NULL THEN past_claims ELSE CASE WHEN json_valid(past_claims) THEN json_insert(CASE WHEN json_array_length(past_claims) < 100 THEN past_claims ELSE json_remove(past_claims, '$[0]') END, '$[#]', json_array(claim_count, assigned_to, started_at, ?, 'released', ?)) ELSE past_claims END END,
  updated_at = ?,
  version = version + 1,
  change_number = max((SELECT coalesce(max(change_number), 0) FROM tasks), (SELECT number FROM change_floor)) + 1
WHERE assigned_to = ? AND status IN (SELECT value FROM json_each(?));

DELETE FROM agents
WHERE id = ? AND status IN (SELECT value FROM json_each(?)) AND updated_at < ?;

UPDATE tasks
SET
  status = ?,
  assigned_to = ?,
  started_at = ?,
  lease_expires_at = ?,
  progress = ?,
  progress_text = ?,
  past_claims = CASE WHEN assigned_to IS NULL THEN past_claims ELSE CASE WHEN json_valid(past_claims) THEN json_insert(CASE WHEN json_array_length(past_claims) < 100 THEN past_claims ELSE json_remove(past_claims, '$[0]') END, '$[#]', json_array(claim_count, assigned_to, started_at, ?, 'released', ?)) ELSE past_claims END END,
  updated_at = ?,
  version = version + 1,
  change_number = max((SELECT coalesce(max(change_number), 0) FROM tasks), (SELECT number FROM change_floor)) + 1
WHERE assigned_to = ? AND status IN (SELECT value FROM json_each(?));

DELETE FROM agents
WHERE id = ? AND status IN (SELECT value FROM json_each(?)) AND updated_at < ?;

UPDATE tasks
SET
  status = ?,
  assigned_to = ?,
  started_at = ?,
  lease_expires_at = ?,
  progress = ?,
  progress_text = ?,
  past_claims = CASE WHEN assigned_to IS NULL THEN past_claims ELSE CASE WHEN json_valid(past_claims) THEN json_insert(CASE WHEN json_array_length(past_claims) < 100 THEN past_claims ELSE json_remove(past_claims, '$[0]') END, '$[#]', json_array(claim_count, assigned_to, started_at, ?, 'released', ?)) ELSE past_claims END END,
  updated_at = ?,
  version = version + 1,
  change_number = max((SELECT coalesce(max(change_number), 0) FROM tasks), (SELECT number FROM change_floor)) + 1
WHERE assigned_to = ? AND status IN (SELECT value FROM json_each(?));

DELETE FROM agents
WHERE id = ? AND status IN (SELECT value FROM json_each(?)) AND updated_at < ?;

UPDATE tasks
SET
  status = ?,
  assigned_to = ?,
  started_at = ?,
  lease_expires_at = ?,
  progress = ?,
  progress_text = ?,
  past_claims = CASE WHEN assigned_to IS NULL THEN past_claims ELSE CASE WHEN json_valid(past_claims) THEN json_insert(CASE WHEN json_array_length(past_claims) < 100 THEN past_claims ELSE json_remove(past_claims, '$[0]') END, '$[#]', json_array(claim_count, assigned_to, started_at, ?, 'released', ?)) ELSE past_claims END END,
  updated_at = ?,
  version = version + 1,
  change_number = max((SELECT coalesce(max(change_number), 0) FROM tasks), (SELECT number FROM change_floor)) + 1
WHERE assigned_to = ? AND status IN (SELECT value FROM json_each(?));

DELETE FROM agents
WHERE id = ? AND status IN (SELECT value FROM json_each(?)) AND updated_at < ?;

UPDATE tasks
SET
  status = ?,
  assigned_to = ?,
  started_at = ?,
  lease_expires_at = ?,
  progress = ?,
  progress_text = ?,
  past_claims = CASE WHEN assigned_to IS NULL THEN past_claims ELSE CASE WHEN json_valid(past_claims) THEN json_insert(CASE WHEN json_array_length(past_claims) < 100 THEN past_claims ELSE json_remove(past_claims, '$[0]') END, '$[#]', json_array(claim_count, assigned_to, started_at, ?, 'released', ?)) ELSE past_claims END END,
  updated_at = ?,
  version = version + 1,
  change_number = max((SELECT coalesce(max(change_number), 0) FROM tasks), (SELECT number FROM change_floor)) + 1
WHERE assigned_to = ? AND status IN (SELECT value FROM json_each(?));

DELETE FROM agents
WHERE id = ? AND status IN (SELECT value FROM json_each(?)) AND updated_at < ?;

UPDATE tasks
SET
  status = ?,
  assigned_to = ?,
  started_at = ?,
  lease_expires_at = ?,
  progress = ?,
  progress_text = ?,
  past_claims = CASE WHEN assigned_to IS NULL THEN past_claims ELSE CASE WHEN json_valid(past_claims) THEN json_insert(CASE WHEN json_array_length(past_claims) < 100 THEN past_claims ELSE json_remove(past_claims, '$[0]') END, '$[#]', json_array(claim_count, assigned_to, started_at, ?, 'released', ?)) ELSE past_claims END END,
  updated_at = ?,
  version = version + 1,
  change_number = max((SELECT coalesce(max(change_number), 0) FROM tasks), (SELECT number FROM change_floor)) + 1
WHERE assigned_to = ? AND status IN (SELECT value FROM json_each(?));

DELETE FROM agents
WHERE id = ? AND status IN (SELECT value FROM json_each(?)) AND updated_at < ?;

UPDATE tasks
SET
  status = ?,
  assigned_to = ?,
  started_at = ?,
  lease_expires_at = ?,
  progress = ?,
  progress_text = ?,
  past_claims = CASE WHEN assigned_to IS NULL THEN past_claims ELSE CASE WHEN json_valid(past_claims) THEN json_insert(CASE WHEN json_array_length(past_claims) < 100 THEN past_claims ELSE json_remove(past_claims, '$[0]') END, '$[#]', json_array(claim_count, assigned_to, started_at, ?, 'released', ?)) ELSE past_claims END END,
  updated_at = ?,
  version = version + 1,
  change_number = max((SELECT coalesce(max(change_number), 0) FROM tasks), (SELECT number FROM change_floor)) + 1
WHERE assigned_to = ? AND status IN (SELECT value FROM json_each(?));

DELETE FROM agents
WHERE id = ? AND status IN (SELECT value FROM json_each(?)) AND updated_at < ?;

UPDATE tasks
SET
  status = ?,
  assigned_to = ?,
  started_at = ?,
  lease_expires_at = ?,
  progress = ?,
  progress_text = ?,
  past_claims = CASE WHEN assigned_to IS NULL THEN past_claims ELSE CASE WHEN json_valid(past_claims) THEN json_insert(CASE WHEN json_array_length(past_claims) < 100 THEN past_claims ELSE json_remove(past_claims, '$[0]') END, '$[#]', json_array(claim_count, assigned_to, started_at, ?, 'released', ?)) ELSE past_claims END END,
  updated_at = ?,
  version = version + 1,
  change_number = max((SELECT coalesce(max(change_number), 0) FROM tasks), (SELECT number FROM change_floor)) + 1
WHERE assigned_to = ? AND status IN (SELECT value FROM json_each(?));

DELETE FROM agents
WHERE id = ? AND status IN (SELECT value FROM json_each(?)) AND updated_at < ?;

UPDATE tasks
SET
  status = ?,
  assigned_to = ?,
  started_at = ?,
  lease_expires_at = ?,
  progress = ?,
  progress_text = ?,
  past_claims = CASE WHEN assigned_to IS NULL THEN past_claims ELSE CASE WHEN json_valid(past_claims) THEN json_insert(CASE WHEN json_array_length(past_claims) < 100 THEN past_claims ELSE json_remove(past_claims, '$[0]') END, '$[#]', json_array(claim_count, assigned_to, started_at, ?, 'released', ?)) ELSE past_claims END END,
  updated_at = ?,
  version = version + 1,
  change_number = max((SELECT coalesce(max(change_number), 0) FROM tasks), (SELECT number FROM change_floor)) + 1
WHERE assigned_to = ? AND status IN (SELECT value FROM json_each(?));

DELETE FROM agents
WHERE id = ? AND status IN (SELECT value FROM json_each(?)) AND updated_at < ?;

UPDATE tasks
SET
  status = ?,
  assigned_to = ?,
  started_at = ?,
  lease_expires_at = ?,
  progress = ?,
  progress_text = ?,
  past_claims = CASE WHEN assigned_to IS NULL THEN past_claims ELSE CASE WHEN json_valid(past_claims) THEN json_insert(CASE WHEN json_array_length(past_claims) < 100 THEN past_claims ELSE json_remove(past_claims, '$[0]') END, '$[#]', json_array(claim_count, assigned_to, started_at, ?, 'released', ?)) ELSE past_claims END END,
  updated_at = ?,
  version = version + 1,
  change_number = max((SELECT coalesce(max(change_number), 0) FROM tasks), (SELECT number FROM change_floor)) + 1
WHERE assigned_to = ? AND status IN (SELECT value FROM json_each(?));

DELETE FROM agents
WHERE id = ? AND status IN (SELECT value FROM json_each(?)) AND updated_at < ?;

UPDATE tasks
SET
  status = ?,
  assigned_to = ?,
  started_at = ?,
  lease_expires_at = ?,
  progress = ?,
  progress_text = ?,
  past_claims = CASE WHEN assigned_to IS NULL THEN past_claims ELSE CASE WHEN json_valid(past_claims) THEN json_insert(CASE WHEN json_array_length(past_claims) < 100 THEN past_claims ELSE json_remove(past_claims, '$[0]') END, '$[#]', json_array(claim_count, assigned_to, started_at, ?, 'released', ?)) ELSE past_claims END END,
  updated_at = ?,
  version = version + 1,
  change_number = max((SELECT coalesce(max(change_number), 0) FROM tasks), (SELECT number FROM change_floor)) + 1
WHERE assigned_to = ? AND status IN (SELECT value FROM json_each(?));

DELETE FROM agents
WHERE id = ? AND status IN (SELECT value FROM json_each(?)) AND updated_at < ?;

UPDATE tasks
SET
  status = ?,
  assigned_to = ?,
  started_at = ?,
  lease_expires_at = ?,
  progress = ?,
  progress_text = ?,
  past_claims = CASE WHEN assigned_to IS NULL THEN past_claims ELSE CASE WHEN json_valid(past_claims) THEN json_insert(CASE WHEN json_array_length(past_claims) < 100 THEN past_claims ELSE json_remove(past_claims, '$[0]') END, '$[#]', json_array(claim_count, assigned_to, started_at, ?, 'released', ?)) ELSE past_claims END END,
  updated_at = ?,
  version = version + 1,
  change_number = max((SELECT coalesce(max(change_number), 0) FROM tasks), (SELECT number FROM change_floor)) + 1
WHERE assigned_to = ? AND status IN (SELECT value FROM json_each(?));

DELETE FROM agents
WHERE id = ? AND status IN (SELECT value FROM json_each(?)) AND updated_at < ?;

UPDATE tasks
SET
  status = ?,
  assigned_to = ?,
  started_at = ?,
  lease_expires_at = ?,
  progress = ?,
  progress_text = ?,
  past_claims = CASE WHEN assigned_to IS NULL THEN past_claims ELSE CASE WHEN json_valid(past_claims) THEN json_insert(CASE WHEN json_array_length(past_claims) < 100 THEN past_claims ELSE json_remove(past_claims, '$[0]') END, '$[#]', json_array(claim_count, assigned_to, started_at, ?, 'released', ?)) ELSE past_claims END END,
  updated_at = ?,
  version = version + 1,
  change_number = max((SELECT coalesce(max(change_number), 0) FROM tasks), (SELECT number FROM change_floor)) + 1
WHERE assigned_to = ? AND status IN (SELECT value FROM json_each(?));

DELETE FROM agents
WHERE id = ? AND status IN (SELECT value FROM json_each(?)) AND updated_at < ?;

UPDATE tasks
SET
  status = ?,
  assigned_to = ?,
  started_at = ?,
  lease_expires_at = ?,
  progress = ?,
  progress_text = ?,
  past_claims = CASE WHEN assigned_to IS NULL THEN past_claims ELSE CASE WHEN json_valid(past_claims) THEN json_insert(CASE WHEN json_array_length(past_claims) < 100 THEN past_claims ELSE json_remove(past_claims, '$[0]') END, '$[#]', json_array(claim_count, assigned_to, started_at, ?, 'released', ?)) ELSE past_claims END END,
  updated_at = ?,
  version = version + 1,
  change_number = max((SELECT coalesce(max(change_number), 0) FROM tasks), (SELECT number FROM change_floor)) + 1
WHERE assigned_to = ? AND status IN (SELECT value FROM json_each(?));

DELETE FROM agents
WHERE id = ? AND status IN (SELECT value FROM json_each(?)) AND updated_at < ?;

UPDATE tasks
SET
  status = ?,
  assigned_to = ?,
  started_at = ?,
  lease_expires_at = ?,
  progress = ?,
  progress_text = ?,
  past_claims = CASE WHEN assigned_to IS NULL THEN past_claims ELSE CASE WHEN json_valid(past_claims) THEN json_insert(CASE WHEN json_array_length(past_claims) < 100 THEN past_claims ELSE json_remove(past_claims, '$[0]') END, '$[#]', json_array(claim_count, assigned_to, started_at, ?, 'released', ?)) ELSE past_claims END END,
  updated_at = ?,
  version = version + 1,
  change_number = max((SELECT coalesce(max(change_number), 0) FROM tasks), (SELECT number FROM change_floor)) + 1
WHERE assigned_to = ? AND status IN (SELECT value FROM json_each(?));

COMMIT;
