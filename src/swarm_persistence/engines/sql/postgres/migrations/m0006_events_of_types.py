"""Version 6: an index of events by type and arrival, for readers of the log that filter by type.

Older code keeps working, and is faster where it filters by one type.
"""

from swarm_persistence.engines.sql.postgres.migrations.migration import CreateIndex, DropIndex

_NAME = "events_by_type_and_arrival"

UP = (CreateIndex(_NAME, "ON {schema}.events (left(event_type, 200) NULLS FIRST, sequence)"),)

DOWN = (DropIndex(_NAME),)
