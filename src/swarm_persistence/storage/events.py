"""The verbs of events."""

from datetime import datetime

from swarm_persistence.models import EventModel
from swarm_persistence.query.builder import bound, query_value
from swarm_persistence.query.query import Condition, Order, Query
from swarm_persistence.schema.tables import EVENTS
from swarm_persistence.schema.values import identifier, text
from swarm_persistence.storage.core import StorageCore

_NEWEST_FIRST = (Order("timestamp", is_descending=True),)


class EventVerbs(StorageCore):
    """Events: store, read by agent, type or time."""

    async def store_event(self, event: EventModel) -> None:
        """Store a new event, and set its `sequence`.

        Raises:
            ConflictError: the id is taken; the stored event is unchanged.
            SerializationError: a field's value cannot be stored; nothing was written.

        """
        await self._store(EVENTS, event)

    async def get_events_by_agent(self, agent_id: str, limit: int) -> list[EventModel]:
        """Return at most `limit` events of this agent, newest first."""
        condition = Condition("agent_id", "=", identifier(agent_id, "event.agent_id"))
        return await self._executor().select(Query(EVENTS, (condition,), _NEWEST_FIRST, bound("limit", limit)))

    async def get_events_by_type(self, event_type: str, limit: int) -> list[EventModel]:
        """Return at most `limit` events of this type, newest first."""
        condition = Condition("event_type", "=", text(event_type, "event.event_type"))
        return await self._executor().select(Query(EVENTS, (condition,), _NEWEST_FIRST, bound("limit", limit)))

    async def get_events_since(self, timestamp: float | datetime) -> list[EventModel]:
        """Return the events of this time (Unix seconds or an aware datetime) and later, oldest first."""
        since = query_value(EVENTS.column("timestamp"), timestamp, "timestamp")
        condition = Condition("timestamp", ">=", since)
        return await self._executor().select(Query(EVENTS, (condition,), (Order("timestamp"),)))
