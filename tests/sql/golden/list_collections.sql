SELECT collection, count(*)
FROM documents
WHERE collection >= ? AND collection < ? AND (expires_at IS NULL OR expires_at > ?)
GROUP BY collection
ORDER BY collection;
