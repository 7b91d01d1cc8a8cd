"""Version 7: readers of the log that ask for some types find these along their arrivals."""

UP = ("CREATE INDEX events_by_type_and_arrival ON events (event_type)",)

DOWN = ("DROP INDEX events_by_type_and_arrival",)
