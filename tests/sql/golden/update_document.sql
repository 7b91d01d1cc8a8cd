BEGIN IMMEDIATE;

UPDATE documents
SET
  collection = ?,
  key = ?,
  label = ?,
  created_at = ?,
  updated_at = ?,
  expires_at = ?,
  version = ?,
  value = ?,
  data = ?,
  embedding = ?,
  change_number = max((SELECT coalesce(max(change_number), 0) FROM documents), (SELECT number FROM change_floor)) + 1
WHERE id = ? AND version = ? AND (expires_at IS NULL OR expires_at > ?)
RETURNING version;

COMMIT;
