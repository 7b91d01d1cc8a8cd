"""Facts about the event log: reading it in order, and appending at an expected sequence."""

import asyncio
import random
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any

import pytest

from swarm_persistence import ConflictError, EventModel, SerializationError, Storage
from swarm_persistence_conformance.callers import elsewhere
from swarm_persistence_conformance.records import after, an_event, ids


def events(*names: str) -> list[EventModel]:
    """Return new events with these ids."""
    return [an_event(name) for name in names]


def place(event: EventModel) -> int:
    """Return a stored event's sequence."""
    assert event.sequence is not None
    return event.sequence


@pytest.mark.asyncio
class TestEventLog:
    """The contract for readers of the log and for writers that append to it."""

    async def test_events_are_read_in_the_order_of_their_commits_regardless_of_their_time(
        self, storage: Storage
    ) -> None:
        for number in range(5):
            await storage.store_event(an_event(f"event-{number}", timestamp=after(-number)))

        log = await storage.read_events()

        assert ids(log) == [f"event-{number}" for number in range(5)]
        assert [place(event) for event in log] == sorted({place(event) for event in log})

    async def test_an_empty_log_has_nothing_to_read(self, storage: Storage) -> None:
        assert await storage.read_events() == []
        assert await storage.read_events(after=1000) == []

    async def test_reading_goes_on_behind_a_place(self, storage: Storage) -> None:
        log = events("a", "b", "c", "d")
        await storage.store_many(log)

        assert ids(await storage.read_events(after=place(log[1]))) == ["c", "d"]
        assert ids(await storage.read_events(place(log[3]))) == []
        assert ids(await storage.read_events(0)) == ["a", "b", "c", "d"]

    async def test_a_limit_keeps_the_first(self, storage: Storage) -> None:
        log = events("a", "b", "c", "d")
        await storage.store_many(log)

        assert ids(await storage.read_events(place(log[0]), 2)) == ["b", "c"]
        assert await storage.read_events(limit=0) == []

    async def test_pages_make_up_the_log(self, storage: Storage) -> None:
        await storage.store_many(events(*map(str, range(25))))
        read: list[EventModel] = []

        while page := await storage.read_events(place(read[-1]) if read else 0, 4):
            read += page

        assert ids(read) == [str(number) for number in range(25)]

    async def test_types_choose_among_the_events(self, storage: Storage) -> None:
        await storage.store_many([an_event(id, event_type=id[0]) for id in ("a1", "b1", "c1", "a2", "b2")])

        assert ids(await storage.read_events(types=["a", "b"])) == ["a1", "b1", "a2", "b2"]
        assert ids(await storage.read_events(types={"c", "x"}, limit=5)) == ["c1"]
        assert ids(await storage.read_events(limit=2, types=["b"])) == ["b1", "b2"]
        assert await storage.read_events(types=[]) == []

    async def test_reading_within_a_transaction_sees_its_own_events(self, storage: Storage) -> None:
        async with storage.transaction():
            event = await storage.store_event(an_event())
            assert await storage.read_events() == [event]
            assert await elsewhere(storage.read_events()) == []

        assert await storage.read_events() == [event]

    async def test_a_reader_never_finds_an_event_before_one_that_it_has_seen(self, storage: Storage) -> None:
        chance = random.Random(7)
        is_over = asyncio.Event()

        async def write(name: str) -> None:
            for number in range(12):
                if chance.random() < 0.5:
                    await storage.store_event(an_event(f"{name}-{number}"))
                    continue
                transaction = await storage.begin_transaction()
                await storage.store_event(an_event(f"{name}-{number}"))
                for _ in range(chance.randrange(20)):
                    await asyncio.sleep(0)
                await (transaction.commit() if chance.random() < 0.7 else transaction.rollback())

        async def read() -> list[EventModel]:
            seen: list[EventModel] = []
            while True:
                is_last = is_over.is_set()
                page = await storage.read_events(place(seen[-1]) if seen else 0, limit=3)
                seen += page
                if is_last and not page:
                    return seen
                await asyncio.sleep(0)  # a read that does not wait never yields to the loop

        readers = [elsewhere(read()) for _ in range(3)]
        await asyncio.gather(*(elsewhere(write(f"writer-{number}")) for number in range(6)))
        is_over.set()
        log = await storage.read_events()

        assert await asyncio.gather(*readers) == [log] * 3
        assert len(log) > 30

    async def test_appended_events_stand_behind_all_others_in_their_order(self, storage: Storage) -> None:
        await storage.store_event(an_event("first"))
        new = events("z", "a", "m")

        last = await storage.append_events(new)

        assert ids(await storage.read_events()) == ["first", "z", "a", "m"]
        assert last == new[-1].sequence
        assert await storage.read_events(limit=10) == [*(await storage.read_events(limit=1)), *new]

    async def test_appending_nothing_tells_the_end_of_the_log(self, storage: Storage) -> None:
        assert await storage.append_events([]) == 0

        event = await storage.store_event(an_event())

        assert await storage.append_events(iter(())) == event.sequence

    async def test_an_append_at_the_expected_place_succeeds(self, storage: Storage) -> None:
        first = await storage.append_events(events("a"), expected_sequence=0)
        second = await storage.append_events(events("b", "c"), expected_sequence=first)

        assert second > first
        assert ids(await storage.read_events(after=first)) == ["b", "c"]

    async def test_only_events_that_are_new_must_stand_at_the_expected_place(self, storage: Storage) -> None:
        await storage.append_events([an_event("a", idempotency_key="key")])
        last = await storage.append_events(events("b"))

        def mixed() -> list[EventModel]:
            return [an_event("again", idempotency_key="key"), an_event("c")]

        for expected in (0, last - 1, last + 1_000):
            with pytest.raises(ConflictError, match=rf"ended with event {last}, and {expected} was expected"):
                await storage.append_events(mixed(), expected_sequence=expected)
        assert ids(await storage.read_events()) == ["a", "b"]

        assert await storage.append_events(mixed(), expected_sequence=last) > last
        assert ids(await storage.read_events()) == ["a", "b", "c"]

    async def test_appending_nothing_is_refused_at_another_place_as_well(self, storage: Storage) -> None:
        last = await storage.append_events(events("a", "b"))

        assert await storage.append_events([], expected_sequence=last) == last
        for expected in (0, last - 1, last + 1, 99):
            with pytest.raises(ConflictError, match=rf"ended with event {last}, and {expected} was expected"):
                await storage.append_events([], expected_sequence=expected)

    async def test_an_append_after_another_writers_is_refused_and_writes_nothing(self, storage: Storage) -> None:
        first = await storage.append_events(events("a"))
        await storage.append_events(events("b"))
        late = events("late")

        for expected in (first, 0):
            with pytest.raises(ConflictError, match=rf"ended with event \d+, and {expected} was expected"):
                await storage.append_events(late, expected_sequence=expected)

        assert ids(await storage.read_events()) == ["a", "b"]
        assert late == events("late")

    @pytest.mark.parametrize("ahead", [1, 2, 1000])
    async def test_an_append_at_a_place_that_is_yet_to_come_is_refused(self, storage: Storage, ahead: int) -> None:
        last = await storage.append_events(events("a"))

        with pytest.raises(ConflictError):
            await storage.append_events(events("b", "c"), expected_sequence=last + ahead)

        assert ids(await storage.read_events()) == ["a"]

    async def test_an_append_with_a_known_id_writes_nothing(self, storage: Storage) -> None:
        last = await storage.append_events(events("a"))
        new = events("b", "a")

        with pytest.raises(ConflictError, match="event 'a'"):
            await storage.append_events(new, expected_sequence=last)

        assert ids(await storage.read_events()) == ["a"]
        assert [event.sequence for event in new] == [None, None]

    async def test_an_append_of_what_cannot_be_stored_writes_nothing(self, storage: Storage) -> None:
        with pytest.raises(SerializationError, match=r"event\.data"):
            await storage.append_events([an_event("a"), an_event("b", data={1, 2})])

        assert await storage.read_events() == []

    async def test_of_many_that_append_at_one_place_exactly_one_wins(self, storage: Storage) -> None:
        last = await storage.append_events(events("first"))

        outcomes = await asyncio.gather(
            *(elsewhere(storage.append_events(events(f"{n}-1", f"{n}-2"), expected_sequence=last)) for n in range(30)),
            return_exceptions=True,
        )

        winners = [number for number, outcome in enumerate(outcomes) if isinstance(outcome, int)]
        assert len(winners) == 1
        assert [type(outcome) for outcome in outcomes].count(ConflictError) == 29
        assert ids(await storage.read_events(last)) == [f"{winners[0]}-1", f"{winners[0]}-2"]

    async def test_of_an_append_and_a_plain_event_neither_is_overlooked(self, storage: Storage) -> None:
        for number in range(20):
            last = await storage.append_events([])

            appended, _ = await asyncio.gather(
                elsewhere(storage.append_events(events(f"append-{number}"), expected_sequence=last)),
                elsewhere(storage.store_event(an_event(f"plain-{number}"))),
                return_exceptions=True,
            )

            found = ids(await storage.read_events(last))
            is_first = found == [f"append-{number}", f"plain-{number}"]
            assert is_first or found == [f"plain-{number}"]
            assert isinstance(appended, int) == is_first

    async def test_a_counter_kept_in_the_log_loses_nothing(self, storage: Storage) -> None:
        async def count_up() -> None:
            while True:
                log = await storage.read_events()
                last = place(log[-1]) if log else 0
                value = log[-1].data + 1 if log else 1
                try:
                    await storage.append_events([an_event(f"value-{value}", data=value)], expected_sequence=last)
                except ConflictError:
                    continue
                return

        await asyncio.gather(*(elsewhere(count_up()) for _ in range(10)))

        assert [event.data for event in await storage.read_events()] == list(range(1, 11))

    async def test_an_append_joins_the_transaction(self, storage: Storage) -> None:
        transaction = await storage.begin_transaction()
        event = an_event("a")
        last = await storage.append_events([event])
        await storage.append_events(events("b"), expected_sequence=last)
        assert await elsewhere(storage.read_events()) == []
        await transaction.rollback()

        assert await storage.read_events() == []
        assert event.sequence is None

    async def test_a_refused_append_does_not_doom_what_is_around_it_if_it_stands_by_itself(
        self, storage: Storage
    ) -> None:
        await storage.append_events(events("a"))

        async with storage.transaction():
            with pytest.raises(ConflictError):
                await storage.append_events(events("b"), expected_sequence=0)
            await storage.store_event(an_event("c"))

        assert ids(await storage.read_events()) == ["a", "c"]


async def _prune(storage: Storage) -> None:
    await storage.prune(datetime.max.replace(tzinfo=UTC))


async def _delete(storage: Storage) -> None:
    events = storage.repository(EventModel)
    for event in await events.find_all():
        await events.delete(event.id)


async def _prune_in_a_transaction(storage: Storage) -> None:
    async with storage.transaction():
        await _prune(storage)


CLEARINGS: dict[str, Callable[[Storage], Coroutine[Any, Any, None]]] = {
    "prune": _prune,
    "delete": _delete,
    "prune in a transaction": _prune_in_a_transaction,
}
"""The ways to delete all events."""


@pytest.mark.asyncio
class TestClearedEventLog:
    """An expected sequence after events were deleted."""

    @pytest.mark.parametrize("clearing", CLEARINGS)
    async def test_an_older_place_than_that_of_the_last_event_is_refused(self, storage: Storage, clearing: str) -> None:
        known = await storage.append_events([an_event("a"), an_event("b")])
        last = await storage.append_events([an_event("c")])
        await CLEARINGS[clearing](storage)

        with pytest.raises(ConflictError, match=f"the log ended with event {last}, and {known} was expected"):
            await storage.append_events([an_event("d")], expected_sequence=known)
        assert await storage.repository(EventModel).find_all() == []
        assert await storage.append_events([an_event("d")], expected_sequence=last) > last

    @pytest.mark.parametrize("clearing", CLEARINGS)
    async def test_an_empty_call_returns_the_place_of_the_last_event(self, storage: Storage, clearing: str) -> None:
        last = await storage.append_events([an_event("a"), an_event("b")])
        await CLEARINGS[clearing](storage)

        assert await storage.append_events([]) == last
        assert await storage.append_events([], expected_sequence=last) == last
        with pytest.raises(ConflictError):
            await storage.append_events([], expected_sequence=0)

    async def test_the_last_event_is_known_within_the_transaction_that_took_it_away(self, storage: Storage) -> None:
        last = await storage.append_events([an_event("a"), an_event("b")])

        async with storage.transaction():
            await _delete(storage)
            with pytest.raises(ConflictError):
                await storage.append_events([an_event("c")], expected_sequence=last - 1)
            new = await storage.append_events([an_event("c")], expected_sequence=last)

        assert new > last

    async def test_what_is_rolled_back_was_no_last_event(self, storage: Storage) -> None:
        last = await storage.append_events([an_event("a")])
        transaction = await storage.begin_transaction()
        await storage.append_events([an_event("b")])
        await _delete(storage)
        await transaction.rollback()
        with pytest.raises(ConflictError):
            await storage.append_events([an_event("c"), an_event("a")])

        assert await storage.append_events([]) == last
        assert await storage.append_events([an_event("d")], expected_sequence=last) > last

    async def test_a_place_that_no_event_ever_had_is_refused(self, storage: Storage) -> None:
        last = await storage.append_events([an_event("a")])

        with pytest.raises(ConflictError):
            await storage.append_events([an_event("b")], expected_sequence=last + 1)

    async def test_a_replaced_event_is_no_new_one(self, storage: Storage) -> None:
        last = await storage.append_events([an_event("a")])
        await storage.repository(EventModel).save(an_event("a", data="anew"))
        await storage.repository(EventModel).save(an_event("a", data="once more"))

        assert await storage.append_events([an_event("b")], expected_sequence=last) > last

    async def test_of_any_number_that_expect_the_same_place_one_is_stored(self, storage: Storage) -> None:
        last = await storage.append_events([an_event("a"), an_event("b")])
        appending = [storage.append_events([an_event(str(n))], expected_sequence=last) for n in range(5)]

        _, *outcomes = await asyncio.gather(_prune(storage), *appending, return_exceptions=True)

        assert [type(outcome) for outcome in outcomes].count(ConflictError) == 4
