INSERT INTO documents (id, collection, key, label, created_at, updated_at, expires_at, version, value, data, embedding, change_number)
SELECT column1, column2, column3, column4, column5, column6, column7, 1, column9, column10, column11, max((SELECT coalesce(max(change_number), 0) FROM documents), (SELECT number FROM change_floor)) + 1
FROM (VALUES (?,?,?,?,?,?,?,?,?,?,?),(?,?,?,?,?,?,?,?,?,?,?));
