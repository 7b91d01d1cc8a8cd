"""What the tests of the step to priorities of messages share, on files and on servers: see `sqlite.neighbours`."""

from datetime import datetime
from textwrap import dedent

from sqlite.old_release import WITHOUT_PRIORITIES, of_release
from sqlite.programs import Program
from swarm_persistence import EventModel, MessageModel, MessagePriority, Storage
from swarm_persistence_conformance.records import a_message, after, an_event, ids

NAME = "events of tasks, priorities of messages"
LAST_BEFORE = WITHOUT_PRIORITIES
READER = "worker-001"

_TALK = """
    import asyncio
    from swarm_persistence import EventModel, MessageModel, Backend

    async def main(target):
        async with await Backend.open(target) as storage:
            print((await storage.migration_status()).version, flush=True)
            while id := input():
                await storage.store_event(EventModel(id=id, event_type="old", data=id))
                await storage.store_message(
                    MessageModel(id=id, from_agent="old", to_agent="worker-001", message_type="m", content=id)
                )
                unread = await storage.get_unread_messages("worker-001")
                await storage.mark_message_read(id)
                print(*(message.id for message in unread), flush=True)

    asyncio.run(main(sys.argv[1]))
    """


def program_of_old_code(backend: str) -> str:
    """Return a program of the old code that stores, lists and reads a message for each id that it is told."""
    return of_release(dedent(_TALK).replace("Backend", backend))


async def fill(storage: Storage) -> None:
    """Store events and messages of all kinds that the step touches."""
    tagged = {"task_id": "task-1", "metadata": {"n": [1]}}
    await storage.store_many([an_event(str(n), **(tagged if n % 2 else {})) for n in range(10)])
    for number in range(20):
        priority = list(MessagePriority)[number % 4]
        await storage.store_message(a_message(f"{number:02}", priority=priority, timestamp=after(number)))
    for number in range(0, 20, 5):
        await storage.mark_message_read(f"{number:02}")


async def require_defaults(storage: Storage) -> None:
    """See that all rows are there after the way back and forth, with the defaults of the fields that were dropped."""
    unread = [f"{number:02}" for number in range(20) if number % 5]
    assert ids(await storage.get_unread_messages(READER)) == unread
    messages = await storage.repository(MessageModel).find_all()
    assert {(message.priority, message.read_at) for message in messages} == {(MessagePriority.NORMAL, None)}
    assert sorted(message.id for message in messages if message.read) == ["00", "05", "10", "15"]
    events = await storage.repository(EventModel).find_all()
    assert [(event.id, event.task_id, event.metadata) for event in events] == [(str(n), None, {}) for n in range(10)]


async def require_neighbourliness(storage: Storage, running: Program, started_later: Program) -> None:
    """See that programs of the old code, one of them open since before the step, and the new code share messages."""
    await storage.store_message(a_message("urgent", priority=MessagePriority.URGENT, timestamp=after(10)))
    running.tell("by-old")
    # Theirs is the order of `timestamp`.
    assert running.wait_for_line().split() == ["urgent", "by-old"]
    started_later.tell("by-later")
    assert started_later.wait_for_line().split() == ["urgent", "by-later"]
    running.tell("")
    started_later.tell("")
    assert running.finish() == started_later.finish() == []

    assert ids(await storage.get_unread_messages(READER)) == ["urgent"]
    for id in ("by-old", "by-later"):
        message = await storage.repository(MessageModel).find_by_id(id)
        assert message is not None
        assert (message.priority, message.read, message.read_at) == (MessagePriority.NORMAL, True, None)
        event = await storage.repository(EventModel).find_by_id(id)
        assert event is not None
        assert (event.data, event.task_id, event.metadata) == (id, None, {})
    await storage.mark_message_read("urgent")
    urgent = await storage.repository(MessageModel).find_by_id("urgent")
    assert urgent is not None
    assert isinstance(urgent.read_at, datetime)
