SELECT id, collection, key, label, created_at, updated_at, expires_at, version, value, data, embedding, sequence
FROM documents
WHERE id >= ? AND id < ? AND label = ? AND (expires_at IS NULL OR expires_at > ?)
ORDER BY id;
