SELECT id, task_fields
FROM schedules
ORDER BY sequence;

SELECT sequence
FROM tasks
WHERE sequence <= ?
ORDER BY sequence DESC
LIMIT ? + 0;

SELECT sequence, id
FROM tasks
WHERE "group" = ? AND sequence > ? AND sequence <= ?
ORDER BY sequence DESC
LIMIT ? + 0;

BEGIN IMMEDIATE;

SELECT 1
FROM task_links
WHERE dependency_id IN (SELECT value FROM json_each(?))
LIMIT 1;

SELECT 1
FROM task_links
WHERE task_id IN (SELECT value FROM json_each(?))
LIMIT 1;

DELETE FROM tasks
WHERE id IN (SELECT value FROM json_each(?)) AND "group" = ?;

COMMIT;

SELECT sequence
FROM agents
WHERE sequence <= ?
ORDER BY sequence DESC
LIMIT ? + 0;

SELECT sequence, id
FROM agents
WHERE "group" = ? AND sequence > ? AND sequence <= ?
ORDER BY sequence DESC
LIMIT ? + 0;

BEGIN IMMEDIATE;

DELETE FROM agents
WHERE id = ? AND "group" = ?;

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
WHERE id = ? AND "group" = ?;

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
WHERE id = ? AND "group" = ?;

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
WHERE id = ? AND "group" = ?;

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
WHERE id = ? AND "group" = ?;

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
WHERE id = ? AND "group" = ?;

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
WHERE id = ? AND "group" = ?;

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
WHERE id = ? AND "group" = ?;

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
WHERE id = ? AND "group" = ?;

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
WHERE id = ? AND "group" = ?;

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
WHERE id = ? AND "group" = ?;

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
WHERE id = ? AND "group" = ?;

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
WHERE id = ? AND "group" = ?;

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
WHERE id = ? AND "group" = ?;

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
WHERE id = ? AND "group" = ?;

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

SELECT sequence
FROM events
WHERE sequence <= ?
ORDER BY sequence DESC
LIMIT ? + 0;

SELECT sequence, id
FROM events
WHERE "group" = ? AND sequence > ? AND sequence <= ?
ORDER BY sequence DESC
LIMIT ? + 0;

BEGIN IMMEDIATE;

DELETE FROM events
WHERE id IN (SELECT value FROM json_each(?)) AND "group" = ?;

COMMIT;

SELECT sequence
FROM messages
WHERE sequence <= ?
ORDER BY sequence DESC
LIMIT ? + 0;

SELECT sequence, id
FROM messages
WHERE "group" = ? AND sequence > ? AND sequence <= ?
ORDER BY sequence DESC
LIMIT ? + 0;

BEGIN IMMEDIATE;

DELETE FROM messages
WHERE id IN (SELECT value FROM json_each(?)) AND "group" = ?;

COMMIT;

SELECT sequence
FROM metrics
WHERE sequence <= ?
ORDER BY sequence DESC
LIMIT ? + 0;

SELECT sequence, id
FROM metrics
WHERE "group" = ? AND sequence > ? AND sequence <= ?
ORDER BY sequence DESC
LIMIT ? + 0;

BEGIN IMMEDIATE;

DELETE FROM metrics
WHERE id IN (SELECT value FROM json_each(?)) AND "group" = ?;

COMMIT;

BEGIN IMMEDIATE;

SELECT count(*), sum(size), max(id), count(expiry)
FROM (
SELECT id, coalesce(octet_length(value), 0) + coalesce(octet_length(data), 0) + coalesce(octet_length(embedding), 0) AS size, expires_at AS expiry
FROM documents
WHERE id >= ? AND id < ?
ORDER BY id
LIMIT ? + 0
) AS sized;

DELETE FROM documents
WHERE id >= ? AND id <= ? AND (expires_at IS NULL OR expires_at > ?);

COMMIT;
