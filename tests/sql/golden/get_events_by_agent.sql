SELECT id, event_type, agent_id, data, timestamp, sequence
FROM events
WHERE agent_id = ?
ORDER BY timestamp DESC, sequence DESC
LIMIT ? + 0;
