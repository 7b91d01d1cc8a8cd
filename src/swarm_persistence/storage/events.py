"""The verbs of events."""

from collections.abc import AsyncGenerator, Iterable
from datetime import datetime
from typing import Literal

from swarm_persistence.engines.reads import LastSequence, Select
from swarm_persistence.engines.steps import LockRows
from swarm_persistence.errors import ConflictError
from swarm_persistence.models import EventModel
from swarm_persistence.query.builder import bound
from swarm_persistence.query.query import Condition, Order, Query, one_of
from swarm_persistence.query.values import query_value
from swarm_persistence.schema.tables import EVENTS, SEQUENCE
from swarm_persistence.schema.values import identifier, text
from swarm_persistence.storage.arguments import several, texts
from swarm_persistence.storage.core import StorageCore
from swarm_persistence.storage.storing import store, store_all
from swarm_persistence.storage.watching import watched

_END_OF_LOG = "the end of the log"
"""The id that a write which expects a last event locks; no event has it."""
_NEWEST_FIRST = (Order("timestamp", is_descending=True),)


class EventVerbs(StorageCore):
    """Events: store, read by agent, type, time or position in the log, append, watch."""

    async def store_event(self, event: EventModel) -> EventModel:
        """Store a new event, set its `sequence`, and return it.

        If an event with its `idempotency_key` is stored already, that one is returned, and nothing is written.

        Raises:
            ConflictError: the id is taken; the stored event is unchanged.
            SerializationError: a field's value cannot be stored; nothing was written.

        """
        return await store(self, EVENTS, event)

    async def get_events_by_agent(self, agent_id: str, limit: int) -> list[EventModel]:
        """Return at most `limit` events of this agent, newest first."""
        condition = Condition("agent_id", "=", identifier(agent_id, "event.agent_id"))
        return await self._executor().read(Select(Query(EVENTS, (condition,), _NEWEST_FIRST, bound("limit", limit))))

    async def get_events_by_type(self, event_type: str, limit: int) -> list[EventModel]:
        """Return at most `limit` events of this type, newest first."""
        condition = Condition("event_type", "=", text(event_type, "event.event_type"))
        return await self._executor().read(Select(Query(EVENTS, (condition,), _NEWEST_FIRST, bound("limit", limit))))

    async def get_events_since(self, timestamp: float | datetime) -> list[EventModel]:
        """Return the events of this time (Unix seconds or an aware datetime) and later, oldest first."""
        since = query_value(EVENTS.column("timestamp"), timestamp, "timestamp")
        condition = Condition("timestamp", ">=", since)
        return await self._executor().read(Select(Query(EVENTS, (condition,), (Order("timestamp"),))))

    async def read_events(
        self, after: int = 0, limit: int = 1000, *, types: Iterable[str] | None = None
    ) -> list[EventModel]:
        """Return at most `limit` events after a position in the log, in log order.

        A reader that has seen a `sequence` never misses an event at or before it: an event is visible once all earlier
        ones are committed or rolled back. Within a transaction that has stored events itself, every committed event is
        visible, so do not resume from its last `sequence`.
        """
        conditions = (Condition(SEQUENCE, ">", bound("after", after)), *_of_types(types))
        query = Query(EVENTS, conditions, (Order(SEQUENCE),), bound("limit", limit), settled_only=True)
        return await self._executor().read(Select(query))

    async def append_events(self, events: Iterable[EventModel], *, expected_sequence: int | None = None) -> int:
        """Append new events to the log in this order, and return the sequence of the last.

        With `expected_sequence`, they are stored only if that is the sequence of the last event (0 for an empty log).
        The last event counts even if it was pruned or deleted since; an empty call returns its sequence. An event whose
        `idempotency_key` is stored already is not stored again, and a call whose events are all stored is a repetition:
        it returns the same result, whatever it expects.

        Raises:
            ConflictError: the log has another last event, or an id is taken; nothing was written.
            SerializationError: a field's value cannot be stored; nothing was written.

        """
        records = several(events, "events", "a list of EventModel")
        for record in records:
            self._require_model(EVENTS, record)
        if expected_sequence is not None:
            bound("expected_sequence", expected_sequence)

        async def append() -> list[int]:
            if expected_sequence is not None and records:
                # Of several that expect the same event, one must succeed without waiting for the others.
                await self._executor().write([LockRows(EVENTS, exclusive=(_END_OF_LOG,))])
            stored = await store_all(self, records)
            added = [event.sequence or 0 for event, record in zip(stored, records, strict=True) if event is record]
            if expected_sequence is not None and (added or not records):
                # No other event can get a sequence below these from now on, so check afterwards.
                await self._require_last(expected_sequence, before=min(added, default=None))
            return [event.sequence or 0 for event in stored]

        return max(await self._as_one(append), default=0) or await self._executor().read(LastSequence(EVENTS))

    def watch_events(
        self,
        after: int | Literal["now"] = 0,
        *,
        types: Iterable[str] | None = None,
        agent_id: str | None = None,
        group: str | None = None,
    ) -> AsyncGenerator[EventModel, None]:
        """Yield the events after a position in the log, then each new one once it is committed; never ends by itself.

        Events come in log order, without gaps or repetitions, whichever process stores them: those of the `types`, of
        the agent and of the group, where given. To resume later, keep the `sequence` of the last event handled. With
        `"now"`, events are yielded that are stored after the iteration starts.

        Raises:
            TransactionError: called within a transaction, which does not see other commits.

        """
        self._require_no_transaction("watch_events")
        of_agent = () if agent_id is None else (Condition("agent_id", "=", identifier(agent_id, "event.agent_id")),)
        of_group = () if group is None else (Condition("group", "=", identifier(group, "event.group")),)
        return watched(self._feeds, self._engine, Query(EVENTS, (*of_agent, *of_group, *_of_types(types))), after)

    async def _require_last(self, expected: int, before: int | None) -> None:
        """Raise unless the log, up to a position, ends with the expected event."""
        last = await self._executor().read(LastSequence(EVENTS, before))
        if last != expected:
            raise ConflictError(
                f"the log ended with event {last}, and {expected} was expected; read on from there, and decide anew"
            )


def _of_types(types: Iterable[str] | None) -> tuple[Condition, ...]:
    return () if types is None else (one_of("event_type", texts(types, "types")),)
