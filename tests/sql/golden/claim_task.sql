BEGIN IMMEDIATE;

UPDATE tasks
SET
  status = ?,
  assigned_to = ?,
  lease_expires_at = ?,
  claim_count = claim_count + 1,
  updated_at = ?,
  version = version + 1,
  change_number = max((SELECT coalesce(max(change_number), 0) FROM tasks), (SELECT number FROM change_floor)) + 1
WHERE id = ? AND status = 'pending';

COMMIT;
