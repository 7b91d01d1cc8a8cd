"""Facts about events and their sequence."""

import asyncio

import pytest

from swarm_persistence import ConflictError, EventModel, Storage
from swarm_persistence_conformance.records import MOMENT, after, an_event, ids


@pytest.mark.asyncio
class TestEvents:
    """The contract of the event verbs."""

    async def test_a_new_event_can_be_stored_and_read(self, storage: Storage) -> None:
        data = {"task_id": "task-123", "duration_ms": 5000, "result": "success"}
        event = EventModel.new("task_completed", data).with_agent("agent-123")

        await storage.store_event(event)

        assert await storage.get_events_by_agent("agent-123", 10) == [event]

    async def test_a_known_id_is_refused_with_model_and_id(self, storage: Storage) -> None:
        await storage.store_event(an_event())

        with pytest.raises(ConflictError, match="event 'event-1'"):
            await storage.store_event(an_event(data="another"))

    async def test_a_refused_duplicate_leaves_the_stored_event_as_it_is(self, storage: Storage) -> None:
        event = an_event()
        await storage.store_event(event)

        with pytest.raises(ConflictError):
            await storage.store_event(an_event(data="another"))

        assert await storage.get_events_by_type("task_completed", 10) == [event]

    async def test_storing_tells_the_callers_event_its_sequence(self, storage: Storage) -> None:
        event = an_event()

        await storage.store_event(event)

        (stored,) = await storage.get_events_since(MOMENT)
        assert stored.sequence is not None
        assert event.sequence == stored.sequence

    async def test_the_sequence_rises_with_every_event(self, storage: Storage) -> None:
        events = [an_event(f"event-{number}", timestamp=after(-number)) for number in range(20)]

        for event in events:
            await storage.store_event(event)

        sequences = [event.sequence or 0 for event in events]
        assert sequences == sorted(set(sequences))

    async def test_the_sequence_rises_in_the_order_of_a_batch(self, storage: Storage) -> None:
        events = [an_event(f"event-{number}") for number in (3, 1, 2)]

        await storage.store_many(events)

        sequences = [event.sequence or 0 for event in events]
        assert sequences == sorted(set(sequences))

    async def test_no_two_events_share_a_sequence_however_many_arrive_at_once(self, storage: Storage) -> None:
        events = [an_event(f"event-{number}") for number in range(50)]

        await asyncio.gather(*(storage.store_event(event) for event in events))

        assert len({event.sequence for event in events}) == 50

    async def test_a_sequence_is_not_given_again_after_its_event_was_deleted(self, storage: Storage) -> None:
        first, second = an_event("first"), an_event("second")
        await storage.store_event(first)
        await storage.repository(EventModel).delete("first")

        await storage.store_event(second)

        assert (second.sequence or 0) > (first.sequence or 0)

    async def test_an_agents_events_come_newest_first(self, storage: Storage) -> None:
        for id, agent_id, age in (("old", "a", 1), ("other", "b", 2), ("none", None, 3), ("new", "a", 4)):
            await storage.store_event(an_event(id, agent_id=agent_id, timestamp=after(age)))

        assert ids(await storage.get_events_by_agent("a", 10)) == ["new", "old"]

    async def test_events_of_a_type_come_newest_first(self, storage: Storage) -> None:
        for id, event_type, age in (("old", "x", 1), ("other", "y", 2), ("new", "x", 3)):
            await storage.store_event(an_event(id, event_type=event_type, timestamp=after(age)))

        assert ids(await storage.get_events_by_type("x", 10)) == ["new", "old"]

    async def test_events_of_one_moment_come_latest_arrival_first(self, storage: Storage) -> None:
        await storage.store_many([an_event(id, agent_id="a") for id in ("m", "z", "b")])

        assert ids(await storage.get_events_by_agent("a", 10)) == ["b", "z", "m"]
        assert ids(await storage.get_events_by_type("task_completed", 10)) == ["b", "z", "m"]

    async def test_a_limit_keeps_the_newest(self, storage: Storage) -> None:
        await storage.store_many([an_event(str(age), agent_id="a", timestamp=after(age)) for age in (1, 3, 2)])

        assert ids(await storage.get_events_by_agent("a", 2)) == ["3", "2"]
        assert ids(await storage.get_events_by_type("task_completed", 1)) == ["3"]

    async def test_a_limit_of_nothing_gives_nothing(self, storage: Storage) -> None:
        await storage.store_event(an_event(agent_id="a"))

        assert await storage.get_events_by_agent("a", 0) == []
        assert await storage.get_events_by_type("task_completed", 0) == []

    async def test_an_unknown_agent_and_an_unknown_type_have_no_events(self, storage: Storage) -> None:
        await storage.store_event(an_event())

        assert await storage.get_events_by_agent("a", 10) == []
        assert await storage.get_events_by_type("unknown", 10) == []

    async def test_events_since_a_time_come_oldest_first(self, storage: Storage) -> None:
        await storage.store_many([an_event(str(age), timestamp=after(age)) for age in (3, 1, 2)])

        assert ids(await storage.get_events_since(after(0))) == ["1", "2", "3"]

    async def test_events_since_of_one_moment_come_in_the_order_of_arrival(self, storage: Storage) -> None:
        await storage.store_many([an_event(id) for id in ("m", "z", "a")])

        assert ids(await storage.get_events_since(MOMENT)) == ["m", "z", "a"]

    async def test_since_includes_the_time_itself_and_nothing_before(self, storage: Storage) -> None:
        await storage.store_many([an_event(str(number), timestamp=after(number / 1_000_000)) for number in (-1, 0, 1)])

        assert ids(await storage.get_events_since(MOMENT)) == ["0", "1"]

    async def test_since_may_be_given_in_unix_seconds(self, storage: Storage) -> None:
        whole = MOMENT.replace(microsecond=0)
        await storage.store_many([an_event("before", timestamp=after(-1)), an_event("at", timestamp=whole)])

        assert ids(await storage.get_events_since(int(whole.timestamp()))) == ["at"]
        assert ids(await storage.get_events_since(whole.timestamp() + 0.5)) == []
