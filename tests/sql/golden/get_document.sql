SELECT id, collection, key, label, created_at, updated_at, expires_at, version, CASE WHEN octet_length(value) <= 65536 AND coalesce(octet_length(data), 0) <= 65536 THEN value END AS value, CASE WHEN octet_length(data) <= 65536 THEN data END AS data, embedding, sequence
FROM documents
WHERE id = ?
ORDER BY sequence;
