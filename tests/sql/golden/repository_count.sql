SELECT count(*)
FROM messages;
