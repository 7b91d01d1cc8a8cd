SELECT id, coalesce(octet_length(value), 0) + coalesce(octet_length(data), 0) + coalesce(octet_length(embedding), 0)
FROM documents
WHERE id > ? AND id < ?
ORDER BY id
LIMIT ? + 0;

BEGIN IMMEDIATE;

SELECT 1
FROM documents
WHERE id >= ? AND id <= ? AND (expires_at IS NULL OR expires_at > ?)
LIMIT 1 OFFSET 499;

DELETE FROM documents
WHERE id >= ? AND id <= ? AND (expires_at IS NULL OR expires_at > ?);

SELECT 1
FROM documents
WHERE id >= ? AND id <= ?
LIMIT 1 OFFSET 499;

DELETE FROM documents
WHERE id >= ? AND id <= ?;

COMMIT;
