SELECT key
FROM documents
WHERE id >= ? AND id < ? AND (expires_at IS NULL OR expires_at > ?)
ORDER BY id DESC
LIMIT ? + 0;
