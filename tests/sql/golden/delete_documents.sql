SELECT id
FROM documents
WHERE id > ? AND id < ?
ORDER BY id
LIMIT ? + 0;

BEGIN IMMEDIATE;

DELETE FROM documents
WHERE id >= ? AND id <= ? AND (expires_at IS NULL OR expires_at > ?);

DELETE FROM documents
WHERE id >= ? AND id <= ?;

COMMIT;
