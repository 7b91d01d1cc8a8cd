BEGIN IMMEDIATE;

DELETE FROM agents
WHERE id = ?;

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
