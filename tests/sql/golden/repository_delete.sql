BEGIN IMMEDIATE;

DELETE FROM tasks
WHERE id = ?;

DELETE FROM task_links
WHERE task_id = ?;

COMMIT;
