"""Version 4: the position of the last event stays known after its deletion.

Code of versions 2 and 3 that has the file open keeps working, and its deletions raise the floor as well.
"""

UP = (
    "CREATE TABLE event_floor (number INTEGER NOT NULL) STRICT",
    # In an empty log, all events were deleted; in another one, the last event mostly remains.
    """
    INSERT INTO event_floor (number)
    SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'events'), 0)
    WHERE NOT EXISTS (SELECT 1 FROM events)
    """,
    "INSERT INTO event_floor (number) SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM event_floor)",
    """
    CREATE TRIGGER events_deleted AFTER DELETE ON events BEGIN
      UPDATE event_floor SET number = OLD.sequence WHERE number < OLD.sequence;
    END
    """,
)

DOWN = ("DROP TRIGGER events_deleted", "DROP TABLE event_floor")
