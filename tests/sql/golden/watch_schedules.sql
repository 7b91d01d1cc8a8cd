SELECT next_at
FROM schedules
WHERE paused = 0 AND next_at IS NOT NULL
ORDER BY next_at, sequence
LIMIT ? + 0;
