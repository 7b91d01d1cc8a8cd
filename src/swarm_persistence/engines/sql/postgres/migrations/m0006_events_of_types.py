"""Version 6: readers of the log that ask for some types find these along their arrivals.

Older code works on beside it, and is faster by it where it asks for one type.
"""

from swarm_persistence.engines.sql.postgres.migrations.migration import CreateIndex, DropIndex

_NAME = "events_by_type_and_arrival"

UP = (CreateIndex(_NAME, "ON {schema}.events (left(event_type, 200) NULLS FIRST, sequence)"),)

DOWN = (DropIndex(_NAME),)
