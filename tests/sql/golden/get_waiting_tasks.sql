SELECT task_type, count(*), min(sequence)
FROM tasks
WHERE status = 'pending' AND unmet_dependencies = 0 AND is_delayed = 0
GROUP BY task_type
ORDER BY task_type;

SELECT task_type, count(*), min(sequence)
FROM tasks
WHERE status = 'pending' AND unmet_dependencies = 0 AND is_delayed = 1 AND run_at <= ?
GROUP BY task_type
ORDER BY task_type;

SELECT task_type, id, priority, created_at, run_at
FROM tasks
WHERE sequence IN (SELECT value FROM json_each(?))
ORDER BY sequence;
