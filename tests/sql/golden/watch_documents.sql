SELECT change_number
FROM documents
ORDER BY change_number DESC, sequence DESC
LIMIT ? + 0;

SELECT id, coalesce(octet_length(id), 0) + coalesce(octet_length(key), 0) + coalesce(octet_length(label), 0) + coalesce(octet_length(value), 0) + coalesce(octet_length(data), 0) + coalesce(octet_length(embedding), 0)
FROM documents
WHERE id >= ? AND id < ? AND (expires_at IS NULL OR expires_at > ?) AND change_number > ? AND change_number <= ?
ORDER BY change_number, sequence
LIMIT ? + 0;

SELECT id, collection, key, label, created_at, updated_at, expires_at, version, value, data, embedding, change_number, sequence
FROM documents
WHERE id >= ? AND id < ? AND (expires_at IS NULL OR expires_at > ?) AND change_number > ? AND change_number <= ?
ORDER BY change_number, sequence
LIMIT ? + 0;
