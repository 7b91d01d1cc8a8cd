SELECT task_type, status, count(*)
FROM tasks
GROUP BY task_type, status
ORDER BY task_type, status;
