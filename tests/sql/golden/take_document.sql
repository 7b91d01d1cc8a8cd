BEGIN IMMEDIATE;

DELETE FROM documents
WHERE id = ? AND (expires_at IS NULL OR expires_at > ?)
RETURNING id, collection, key, label, created_at, updated_at, expires_at, version, value, data, embedding, change_number, sequence;

COMMIT;
