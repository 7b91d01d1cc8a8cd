BEGIN IMMEDIATE;

SELECT 1
FROM task_links
WHERE dependency_id = ?
LIMIT 1;

DELETE FROM tasks
WHERE id = ?;

DELETE FROM task_links
WHERE task_id = ?;

COMMIT;
