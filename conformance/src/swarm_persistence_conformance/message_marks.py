"""Facts about marking messages as read, up to what the reader has seen, and about acknowledging them."""

import asyncio
from typing import Any

import pytest

from swarm_persistence import InvalidQueryError, MessageModel, NotFoundError, SerializationError, Storage
from swarm_persistence.testing import ManualClock
from swarm_persistence_conformance.callers import elsewhere
from swarm_persistence_conformance.held_tasks import is_about
from swarm_persistence_conformance.records import a_message, after, ids

READER = "worker-001"


async def message(storage: Storage, id: str = "message-1") -> MessageModel:
    """Return the stored message; there must be one."""
    found = await storage.repository(MessageModel).find_by_id(id)
    assert found is not None
    return found


@pytest.mark.asyncio
class TestMessageMarks:
    """The contract of marking and acknowledging."""

    async def test_messages_up_to_one_are_marked_and_counted(self, storage: Storage) -> None:
        await storage.store_many([a_message(id) for id in ("a", "b", "c", "d")])
        await storage.mark_message_read("a")

        assert await storage.mark_messages_read(READER, up_to=await message(storage, "c")) == 2

        assert ids(await storage.get_unread_messages(READER)) == ["d"]

    async def test_what_arrived_later_stays_unread_regardless_of_its_timestamp(self, storage: Storage) -> None:
        seen = a_message("seen", timestamp=after(0))
        await storage.store_message(seen)
        await storage.store_message(a_message("backdated", timestamp=after(-100)))
        await storage.store_message(a_message("same moment", timestamp=after(0)))

        assert await storage.mark_messages_read(READER, up_to=seen) == 1

        assert ids(await storage.get_unread_messages(READER)) == ["backdated", "same moment"]

    async def test_what_arrived_earlier_is_marked_regardless_of_its_timestamp(self, storage: Storage) -> None:
        await storage.store_message(a_message("of tomorrow", timestamp=after(86_400)))
        await storage.store_message(a_message("seen"))

        assert await storage.mark_messages_read(READER, up_to=await message(storage, "seen")) == 2

    async def test_a_copy_that_does_not_know_its_place_will_do(self, storage: Storage) -> None:
        await storage.store_many([a_message("a"), a_message("b"), a_message("c")])

        assert await storage.mark_messages_read(READER, up_to=a_message("b")) == 2

    async def test_a_mark_stamps_the_time_and_a_second_one_keeps_it(self, storage: Storage, clock: ManualClock) -> None:
        await storage.store_many([a_message("alone"), a_message("with others"), a_message("unread", to_agent="other")])
        marked_at = clock.now()
        await storage.mark_message_read("alone")
        await storage.mark_messages_read(READER, up_to=await message(storage, "with others"))
        first = [await message(storage, id) for id in ("alone", "with others")]
        clock.advance(100)

        await storage.mark_message_read("alone")
        await storage.mark_messages_read(READER, up_to=first[1])

        assert [is_about(each.read_at, marked_at) for each in first] == [True, True]
        assert [await message(storage, each.id) for each in first] == first
        assert (await message(storage, "unread")).read_at is None

    async def test_the_messages_to_others_stay_unread(self, storage: Storage) -> None:
        await storage.store_many([a_message("theirs", to_agent="other"), a_message("mine")])

        await storage.mark_messages_read(READER, up_to=await message(storage, "mine"))

        assert ids(await storage.get_unread_messages("other")) == ["theirs"]

    async def test_marking_again_marks_nothing(self, storage: Storage) -> None:
        await storage.store_message(a_message())
        last = await message(storage)

        assert await storage.mark_messages_read(READER, up_to=last) == 1
        assert await storage.mark_messages_read(READER, up_to=last) == 0

    async def test_a_message_to_another_agent_is_refused(self, storage: Storage) -> None:
        await storage.store_many([a_message("theirs", to_agent="other"), a_message("mine")])

        with pytest.raises(InvalidQueryError, match="up_to is message 'theirs' to 'other'"):
            await storage.mark_messages_read(READER, up_to=await message(storage, "theirs"))

        assert ids(await storage.get_unread_messages(READER)) == ["mine"]

    async def test_a_message_that_is_not_stored_is_refused(self, storage: Storage) -> None:
        await storage.store_message(a_message("mine"))

        with pytest.raises(NotFoundError, match="message 'missing'"):
            await storage.mark_messages_read(READER, up_to=a_message("missing"))

        assert ids(await storage.get_unread_messages(READER)) == ["mine"]

    async def test_a_message_that_arrives_meanwhile_is_never_marked(self, storage: Storage) -> None:
        await storage.store_message(a_message("seen"))
        seen = await message(storage, "seen")

        marked, *_ = await asyncio.gather(
            elsewhere(storage.mark_messages_read(READER, up_to=seen)),
            *(elsewhere(storage.store_message(a_message(f"new-{n}", timestamp=after(-n)))) for n in range(20)),
        )

        assert marked == 1
        assert sorted(ids(await storage.get_unread_messages(READER))) == sorted(f"new-{n}" for n in range(20))

    @pytest.mark.parametrize("result", [None, {"done": [1]}, "text", 0, False])
    async def test_an_acknowledged_message_has_its_time_and_result_and_stays_unread(
        self, storage: Storage, clock: ManualClock, result: Any
    ) -> None:
        await storage.store_message(a_message())

        assert await storage.acknowledge_message("message-1", result) is True

        found = await message(storage)
        assert is_about(found.acknowledged_at, clock.now())
        assert (found.result, found.read) == (result, False)
        assert await storage.get_unread_messages(READER) == [found]

    async def test_the_first_acknowledgement_stays(self, storage: Storage, clock: ManualClock) -> None:
        await storage.store_message(a_message())
        await storage.acknowledge_message("message-1", "first")
        first = await message(storage)
        clock.advance(100)

        assert await storage.acknowledge_message("message-1", "second") is False
        assert await message(storage) == first

    async def test_of_many_that_acknowledge_one_is_the_first(self, storage: Storage) -> None:
        await storage.store_message(a_message())

        told = await asyncio.gather(*(elsewhere(storage.acknowledge_message("message-1", n)) for n in range(20)))

        assert told.count(True) == 1
        assert (await message(storage)).result == told.index(True)

    async def test_reading_does_not_acknowledge(self, storage: Storage) -> None:
        await storage.store_message(a_message())

        await storage.mark_messages_read(READER, up_to=await message(storage))

        assert (await message(storage)).acknowledged_at is None

    async def test_acknowledging_a_missing_message_is_refused(self, storage: Storage) -> None:
        with pytest.raises(NotFoundError, match="message 'message-1'"):
            await storage.acknowledge_message("message-1")

    async def test_a_result_that_is_no_json_acknowledges_nothing(self, storage: Storage) -> None:
        await storage.store_message(a_message())

        with pytest.raises(SerializationError, match=r"message\.result"):
            await storage.acknowledge_message("message-1", {1, 2})

        assert (await message(storage)).acknowledged_at is None
