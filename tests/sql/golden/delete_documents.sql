BEGIN IMMEDIATE;

SELECT count(*), sum(size), max(id), count(expiry)
FROM (
SELECT id, coalesce(octet_length(value), 0) + coalesce(octet_length(data), 0) + coalesce(octet_length(embedding), 0) AS size, expires_at AS expiry
FROM documents
WHERE id > ? AND id < ?
ORDER BY id
LIMIT ? + 0
) AS sized;

DELETE FROM documents
WHERE id > ? AND id <= ? AND (expires_at IS NULL OR expires_at > ?);

COMMIT;
