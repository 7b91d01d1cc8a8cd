SELECT id, event_type, agent_id, data, timestamp, sequence
FROM events
WHERE id = ?
ORDER BY sequence;
