SELECT id, coalesce(octet_length(id), 0) + coalesce(octet_length(event_type), 0) + coalesce(octet_length(agent_id), 0) + coalesce(octet_length(task_id), 0) + coalesce(octet_length(data), 0) + coalesce(octet_length(metadata), 0) + coalesce(octet_length(idempotency_key), 0) + coalesce(octet_length("group"), 0) + coalesce(octet_length(tags), 0)
FROM events
WHERE sequence > ?
ORDER BY sequence
LIMIT ? + 0;

SELECT id, event_type, agent_id, task_id, data, metadata, timestamp, idempotency_key, "group", tags, sequence
FROM events
WHERE sequence > ?
ORDER BY sequence
LIMIT ? + 0;
