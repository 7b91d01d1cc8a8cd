"""Version 2: the position of the last event stays known after its deletion.

The sequence's last number does not give it: an insert that was rolled back has used a number, too. Connected code of
version 1 keeps working, and its deletions raise the floor as well.
"""

UP = (
    "CREATE TABLE {schema}.event_floor (number bigint NOT NULL)",
    # In an empty log, all events were deleted; in another one, the last event mostly remains.
    """
    INSERT INTO {schema}.event_floor (number)
    SELECT CASE
      WHEN EXISTS (SELECT 1 FROM {schema}.events) THEN 0
      ELSE coalesce(pg_sequence_last_value(pg_get_serial_sequence('{schema}.events', 'sequence')::regclass), 0)
    END
    """,
    """
    CREATE FUNCTION {schema}.raise_event_floor() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      UPDATE {schema}.event_floor SET number = highest
      FROM (SELECT max(sequence) AS highest FROM deleted) AS found
      WHERE number < highest;
      RETURN NULL;
    END
    $$
    """,
    """
    CREATE TRIGGER raise_event_floor AFTER DELETE ON {schema}.events
    REFERENCING OLD TABLE AS deleted FOR EACH STATEMENT EXECUTE FUNCTION {schema}.raise_event_floor()
    """,
)

DOWN = (
    "DROP TRIGGER raise_event_floor ON {schema}.events",
    "DROP FUNCTION {schema}.raise_event_floor()",
    "DROP TABLE {schema}.event_floor",
)
