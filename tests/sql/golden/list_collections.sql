SELECT collection, count(*)
FROM documents
WHERE id >= ? AND id < ? AND (expires_at IS NULL OR expires_at > ?)
GROUP BY collection
ORDER BY collection;
