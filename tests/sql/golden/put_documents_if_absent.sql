INSERT INTO documents (id, collection, key, label, created_at, updated_at, expires_at, version, value, data, embedding, change_number)
SELECT column1, column2, column3, column4, column5, column6, column7, 1, column9, column10, column11, max((SELECT coalesce(max(change_number), 0) FROM documents), (SELECT number FROM change_floor)) + 1
FROM (VALUES (?,?,?,?,?,?,?,?,?,?,?));

BEGIN IMMEDIATE;

INSERT INTO documents (id, collection, key, label, created_at, updated_at, expires_at, version, value, data, embedding, change_number)
SELECT column1, column2, column3, column4, column5, column6, column7, 1, column9, column10, column11, max((SELECT coalesce(max(change_number), 0) FROM documents), (SELECT number FROM change_floor)) + 1
FROM (VALUES (?,?,?,?,?,?,?,?,?,?,?))
WHERE true
ON CONFLICT (id) DO UPDATE SET
  label = excluded.label,
  created_at = CASE WHEN documents.expires_at <= ? THEN excluded.created_at ELSE documents.created_at END,
  updated_at = excluded.updated_at,
  expires_at = excluded.expires_at,
  version = CASE WHEN documents.expires_at <= ? THEN excluded.version ELSE documents.version + 1 END,
  value = excluded.value,
  data = excluded.data,
  embedding = excluded.embedding,
  change_number = excluded.change_number
WHERE documents.expires_at <= ?
RETURNING id, version, created_at;

COMMIT;
