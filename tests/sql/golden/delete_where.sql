SELECT sequence
FROM tasks
WHERE sequence <= ?
ORDER BY sequence DESC
LIMIT ? + 0;

SELECT sequence, id
FROM tasks
WHERE status = 'failed' AND sequence > ? AND sequence <= ?
ORDER BY sequence DESC
LIMIT ? + 0;

BEGIN IMMEDIATE;

SELECT 1
FROM task_links
WHERE dependency_id IN (SELECT value FROM json_each(?))
LIMIT 1;

SELECT 1
FROM task_links
WHERE task_id IN (SELECT value FROM json_each(?))
LIMIT 1;

DELETE FROM tasks
WHERE id IN (SELECT value FROM json_each(?)) AND status = 'failed';

COMMIT;
