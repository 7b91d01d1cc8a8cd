"""Facts about messages."""

import pytest

from swarm_persistence import (
    ConflictError,
    MessageModel,
    MessagePriority,
    NotFoundError,
    QueryBuilder,
    SerializationError,
    Storage,
)
from swarm_persistence_conformance.records import a_message, after, ids


def between(sender: str, receiver: str, id: str, age: int = 0) -> MessageModel:
    """Return a message between two agents."""
    return a_message(id, from_agent=sender, to_agent=receiver, timestamp=after(age))


@pytest.mark.asyncio
class TestMessages:
    """The contract of the message verbs."""

    async def test_a_new_message_can_be_stored_and_read(self, storage: Storage) -> None:
        message = MessageModel.new("coordinator", "worker-001", "task_assignment", {"task_id": "task-123"})

        await storage.store_message(message)

        assert await storage.get_unread_messages("worker-001") == [message]

    async def test_a_known_id_is_refused_with_model_and_id(self, storage: Storage) -> None:
        await storage.store_message(a_message())

        with pytest.raises(ConflictError, match="message 'message-1'"):
            await storage.store_message(a_message(content="another"))

    async def test_a_refused_duplicate_leaves_the_stored_message_as_it_is(self, storage: Storage) -> None:
        message = a_message()
        await storage.store_message(message)

        with pytest.raises(ConflictError):
            await storage.store_message(a_message(content="another"))

        assert await storage.get_unread_messages("worker-001") == [message]

    async def test_storing_tells_the_callers_message_its_sequence(self, storage: Storage) -> None:
        message = a_message()

        await storage.store_message(message)

        (stored,) = await storage.get_unread_messages("worker-001")
        assert stored.sequence is not None
        assert message.sequence == stored.sequence

    async def test_the_sequence_rises_with_every_message(self, storage: Storage) -> None:
        messages = [a_message(f"message-{number}", timestamp=after(-number)) for number in range(20)]

        await storage.store_many(messages[:10])
        for message in messages[10:]:
            await storage.store_message(message)

        sequences = [message.sequence or 0 for message in messages]
        assert sequences == sorted(set(sequences))

    async def test_a_sequence_is_not_given_again_after_its_message_was_deleted(self, storage: Storage) -> None:
        first, second = a_message("first"), a_message("second")
        await storage.store_message(first)
        await storage.repository(MessageModel).delete("first")

        await storage.store_message(second)

        assert (second.sequence or 0) > (first.sequence or 0)

    async def test_messages_between_two_come_in_both_directions_newest_first(self, storage: Storage) -> None:
        await storage.store_many([between("a", "b", "1", 1), between("b", "a", "3", 3), between("a", "b", "2", 2)])

        assert ids(await storage.get_messages_between("a", "b", 10)) == ["3", "2", "1"]

    async def test_it_does_not_matter_which_of_the_two_is_named_first(self, storage: Storage) -> None:
        await storage.store_many([between("a", "b", "1", 1), between("b", "a", "2", 2)])

        assert await storage.get_messages_between("b", "a", 10) == await storage.get_messages_between("a", "b", 10)

    async def test_messages_with_others_are_left_out(self, storage: Storage) -> None:
        await storage.store_many(
            [between("a", "b", "ours"), between("a", "c", "1"), between("c", "b", "2"), between("a", "a", "3")]
        )

        assert ids(await storage.get_messages_between("a", "b", 10)) == ["ours"]

    async def test_an_agent_may_write_to_itself(self, storage: Storage) -> None:
        await storage.store_many([between("a", "a", "diary"), between("a", "b", "letter"), between("b", "a", "reply")])

        assert ids(await storage.get_messages_between("a", "a", 10)) == ["diary"]

    async def test_names_that_differ_in_case_or_accent_are_others(self, storage: Storage) -> None:
        await storage.store_many([between("Ä", "b", "1"), between("ä", "b", "2"), between("A", "b", "3")])

        assert ids(await storage.get_messages_between("b", "ä", 10)) == ["2"]

    async def test_names_beyond_the_basic_plane_find_their_messages(self, storage: Storage) -> None:
        await storage.store_many([between("\ufffd", "\U0001f600", "1", 1), between("\U0001f600", "\ufffd", "2", 2)])

        assert ids(await storage.get_messages_between("\U0001f600", "\ufffd", 10)) == ["2", "1"]

    async def test_messages_of_one_moment_come_latest_arrival_first(self, storage: Storage) -> None:
        await storage.store_many([between("a", "b", "m"), between("b", "a", "z"), between("a", "b", "c")])

        assert ids(await storage.get_messages_between("a", "b", 10)) == ["c", "z", "m"]

    async def test_a_limit_keeps_the_newest(self, storage: Storage) -> None:
        await storage.store_many([between("a", "b", str(age), age) for age in (1, 3, 2)])

        assert ids(await storage.get_messages_between("a", "b", 2)) == ["3", "2"]
        assert await storage.get_messages_between("a", "b", 0) == []

    async def test_read_messages_are_still_between_the_two(self, storage: Storage) -> None:
        await storage.store_message(between("a", "b", "1"))
        await storage.mark_message_read("1")

        assert ids(await storage.get_messages_between("a", "b", 10)) == ["1"]

    async def test_unread_messages_come_oldest_first(self, storage: Storage) -> None:
        await storage.store_many([between("a", "b", "2", 2), between("c", "b", "1", 1), between("b", "a", "not mine")])

        assert ids(await storage.get_unread_messages("b")) == ["1", "2"]

    async def test_unread_messages_of_one_moment_come_in_the_order_of_arrival(self, storage: Storage) -> None:
        await storage.store_many([between("a", "b", id) for id in ("m", "z", "a")])

        assert ids(await storage.get_unread_messages("b")) == ["m", "z", "a"]

    async def test_unread_messages_of_a_higher_priority_come_first_whenever_they_were_sent(
        self, storage: Storage
    ) -> None:
        priorities = {
            "low": MessagePriority.LOW,
            "z-high-first": MessagePriority.HIGH,
            "normal": MessagePriority.NORMAL,
            "urgent": MessagePriority.URGENT,
            "a-high-second": MessagePriority.HIGH,
        }
        await storage.store_many(
            [
                a_message(id, priority=priority, timestamp=after(n))
                for n, (id, priority) in enumerate(priorities.items())
            ]
        )
        await storage.store_message(a_message("of no priority", timestamp=after(-1)))

        unread = await storage.get_unread_messages("worker-001")

        assert ids(unread) == ["urgent", "z-high-first", "a-high-second", "of no priority", "normal", "low"]
        assert [message.priority for message in unread[2:4]] == [MessagePriority.HIGH, MessagePriority.NORMAL]

    async def test_priorities_are_compared_by_rank_in_queries(self, storage: Storage) -> None:
        await storage.store_many([a_message(each.value, priority=each) for each in MessagePriority])

        query = QueryBuilder(MessageModel).where_gt("priority", "normal").order_by("priority", desc=True)

        assert ids(await storage.repository(MessageModel).query(query)) == ["urgent", "high"]

    async def test_what_is_no_priority_of_messages_is_refused(self, storage: Storage) -> None:
        with pytest.raises(SerializationError, match=r"message\.priority is 'critical', expected a MessagePriority"):
            await storage.store_message(a_message(priority="critical"))

        assert await storage.get_unread_messages("worker-001") == []

    async def test_an_agent_without_messages_has_none_unread(self, storage: Storage) -> None:
        assert await storage.get_unread_messages("b") == []

    async def test_a_marked_message_is_no_longer_unread(self, storage: Storage) -> None:
        await storage.store_many([between("a", "b", "1"), between("a", "b", "2")])

        await storage.mark_message_read("1")

        assert ids(await storage.get_unread_messages("b")) == ["2"]

    async def test_the_read_flag_shows_in_what_is_read_back(self, storage: Storage) -> None:
        message = a_message(content={"k": 1})
        await storage.store_message(message)

        await storage.mark_message_read("message-1")

        found = await storage.repository(MessageModel).find_by_id("message-1")
        message.read, message.read_at = True, found.read_at if found else None
        assert found == message

    async def test_a_read_message_may_be_marked_again(self, storage: Storage) -> None:
        await storage.store_message(a_message())
        await storage.mark_message_read("message-1")

        await storage.mark_message_read("message-1")

        assert await storage.get_unread_messages("worker-001") == []

    async def test_marking_a_missing_message_is_refused(self, storage: Storage) -> None:
        with pytest.raises(NotFoundError, match=r"^Not found: message 'message-1'"):
            await storage.mark_message_read("message-1")

    async def test_a_message_may_be_stored_as_read(self, storage: Storage) -> None:
        await storage.store_message(a_message(read=True))

        assert await storage.get_unread_messages("worker-001") == []
