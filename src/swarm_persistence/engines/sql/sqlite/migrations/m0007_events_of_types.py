"""Version 7: an index of events by type and arrival, for readers of the log that filter by type."""

UP = ("CREATE INDEX events_by_type_and_arrival ON events (event_type)",)

DOWN = ("DROP INDEX events_by_type_and_arrival",)
