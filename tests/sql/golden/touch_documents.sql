SELECT id, coalesce(octet_length(value), 0) + coalesce(octet_length(data), 0) + coalesce(octet_length(embedding), 0)
FROM documents
WHERE id >= ? AND id < ? AND label = ?
ORDER BY id
LIMIT ? + 0;

BEGIN IMMEDIATE;

UPDATE documents
SET
  expires_at = ?,
  updated_at = ?,
  version = version + 1,
  change_number = max((SELECT coalesce(max(change_number), 0) FROM documents), (SELECT number FROM change_floor)) + 1
WHERE label = ? AND id >= ? AND id <= ? AND (expires_at IS NULL OR expires_at > ?);

COMMIT;
