"""Records that are old enough to be pruned."""

from datetime import timedelta
from typing import Any

from swarm_persistence import EventModel
from swarm_persistence.clock import now

OLD = timedelta(days=90)
AGE = timedelta(days=30)


def old_event(id: str, **fields: Any) -> EventModel:
    """Return an event of three months ago."""
    return EventModel(id=id, event_type="old", timestamp=now() - OLD, **fields)


async def fail(*arguments: object) -> int:
    return 1 // 0
