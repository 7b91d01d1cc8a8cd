"""Facts about watching some records only, from now on, or from where an earlier watch has ended."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import pytest

from swarm_persistence import InvalidQueryError, SerializationError, Storage, TaskModel, TaskStatus
from swarm_persistence_conformance.callers import elsewhere
from swarm_persistence_conformance.held_tasks import claimed
from swarm_persistence_conformance.records import a_message, a_task, an_event, ids
from swarm_persistence_conformance.waiting import FOR_LONG_SECONDS, begun


async def taken(records: "AsyncGenerator[Any, None]", count: int) -> list[Any]:
    """Return the next records of a watch, which goes on."""
    async with asyncio.timeout(FOR_LONG_SECONDS):
        return [await anext(records) for _ in range(count)]


async def write_to_two(storage: Storage) -> None:
    """Write tasks of two types, in an order of their own."""
    await storage.store_tasks([a_task("a", task_type="x"), a_task("b", task_type="y"), a_task("c", task_type="x")])
    await storage.claim_task("b", "agent-1")
    await storage.claim_task("a", "agent-1")


@pytest.mark.asyncio
class TestFilteredTasks:
    """The filters and the cursor of `watch_tasks`."""

    @pytest.mark.parametrize(
        ("filters", "expected"),
        [
            ({"ids": ["a", "c", "z"]}, ["c", "a"]),
            ({"types": ["x"]}, ["c", "a"]),
            ({"types": ["y", "z"], "ids": ["b", "c"]}, ["b"]),
            ({"statuses": ["assigned"]}, ["b", "a"]),
            ({"statuses": [TaskStatus.PENDING, "running"]}, ["c"]),
        ],
    )
    async def test_what_is_stored_comes_if_it_fits(
        self, storage: Storage, filters: dict[str, Any], expected: list[str]
    ) -> None:
        await write_to_two(storage)

        async with aclosing(storage.watch_tasks(**filters)) as tasks:
            assert ids(await taken(tasks, len(expected))) == expected

    async def test_the_tasks_of_a_group_come_stored_and_live(self, storage: Storage) -> None:
        await storage.store_tasks([a_task("a", group="g"), a_task("b"), a_task("c", group="h")])
        async with (
            aclosing(storage.watch_tasks(group="g")) as every,
            aclosing(storage.watch_tasks(group="g", statuses=["cancelled"])) as some,
        ):
            assert ids(await taken(every, 1)) == ["a"]

            await storage.store_tasks([a_task("d", group="h"), a_task("e", group="g")])
            assert ids(await taken(every, 1)) == ["e"]

            await storage.cancel_task("e")
            assert ids(await taken(some, 1)) == ["e"]

    async def test_what_is_written_comes_if_it_fits_then(self, storage: Storage) -> None:
        async with aclosing(storage.watch_tasks(statuses=["completed"], types=["x"])) as tasks:
            await storage.store_task(a_task("first", task_type="x", status=TaskStatus.COMPLETED))
            assert ids(await taken(tasks, 1)) == ["first"]

            await write_to_two(storage)
            await storage.store_task(a_task("other", task_type="y", status=TaskStatus.COMPLETED))
            await storage.complete_task(await claimed(storage), "done")

            (task,) = await taken(tasks, 1)
            assert (task.id, task.result) == ("c", "done")

    async def test_a_version_that_fits_no_more_is_not_yielded(self, storage: Storage) -> None:
        async with aclosing(storage.watch_tasks(statuses=["pending"])) as tasks:
            await storage.store_task(a_task("first"))
            await taken(tasks, 1)
            waiting = elsewhere(taken(tasks, 1))
            await begun(storage)

            async with storage.transaction():
                await storage.store_task(a_task("a"))
                await storage.claim_task("a", "agent-1")
                await storage.store_task(a_task("b"))

            assert ids(await waiting) == ["b"]

    async def test_many_watchers_see_what_is_theirs(self, storage: Storage) -> None:
        await storage.store_tasks([a_task(str(number)) for number in range(30)])

        async def own(id: str) -> TaskModel:
            async with aclosing(storage.watch_tasks(ids=[id], statuses=["completed"])) as tasks:
                task: TaskModel = (await taken(tasks, 1))[0]
                return task

        watching = [elsewhere(own(str(number))) for number in range(30)]
        await begun(storage)
        for task in await storage.claim_next_tasks("agent-1", limit=30):
            await storage.complete_task(task, task.id)

        assert [task.result for task in await asyncio.gather(*watching)] == [str(number) for number in range(30)]

    async def test_a_watch_goes_on_where_an_earlier_one_has_ended(self, storage: Storage) -> None:
        await write_to_two(storage)
        async with aclosing(storage.watch_tasks()) as tasks:
            assert tasks.cursor is None
            assert ids(await taken(tasks, 2)) == ["c", "b"]
            cursor = tasks.cursor

        await storage.complete_task((await storage.claim_next_tasks("agent-1", limit=1))[0])

        async with aclosing(storage.watch_tasks(after=cursor)) as tasks:
            assert ids(await taken(tasks, 2)) == ["a", "c"]
            live = elsewhere(taken(tasks, 1))
            await begun(storage)
            await storage.store_task(a_task("d"))
            assert ids(await live) == ["d"]
            cursor = tasks.cursor

        await storage.store_task(a_task("e"))
        async with aclosing(storage.watch_tasks(after=cursor)) as tasks:
            assert ids(await taken(tasks, 1)) == ["e"]

    async def test_a_cursor_lies_between_tasks_of_one_write(self, storage: Storage) -> None:
        await storage.store_tasks([a_task(id) for id in "abcde"])
        seen: list[str] = []
        cursor = None
        for _ in range(5):
            async with aclosing(storage.watch_tasks(after=cursor)) as tasks:
                seen += ids(await taken(tasks, 1))
                cursor = tasks.cursor

        assert seen == [*"abcde"]

    async def test_a_watch_from_now_on_yields_what_is_written_later(self, storage: Storage) -> None:
        await write_to_two(storage)
        async with aclosing(storage.watch_tasks(after="now")) as tasks:
            waiting = elsewhere(taken(tasks, 1))
            await begun(storage)
            assert not waiting.done()

            await storage.store_task(a_task("d"))

            assert ids(await waiting) == ["d"]

    @pytest.mark.parametrize("after", ["", "later", "1.2.3", "-1", "1.", ".1", "9" * 30, "１", 7, 1.5, ["0"]])
    async def test_what_is_no_cursor_is_refused(self, storage: Storage, after: Any) -> None:
        with pytest.raises(InvalidQueryError, match="expected a cursor of watch_tasks, or 'now'"):
            storage.watch_tasks(after=after)

    async def test_an_unknown_status_is_refused(self, storage: Storage) -> None:
        with pytest.raises(InvalidQueryError, match=r"statuses\[1\] cannot be 'done'; it is one of pending"):
            storage.watch_tasks(statuses=["pending", "done"])


@pytest.mark.asyncio
class TestFilteredHistory:
    """The events of an agent, and what is stored from now on."""

    async def test_the_events_of_an_agent_come_stored_and_live(self, storage: Storage) -> None:
        await storage.store_many([an_event("1", agent_id="a"), an_event("2"), an_event("3", agent_id="b")])
        await storage.store_event(an_event("4", agent_id="a", event_type="other"))
        async with (
            aclosing(storage.watch_events(agent_id="a")) as every,
            aclosing(storage.watch_events(agent_id="a", types=["other"])) as some,
        ):
            assert ids(await taken(every, 2)) == ["1", "4"]
            assert ids(await taken(some, 1)) == ["4"]

            await storage.store_many([an_event("5", agent_id="b"), an_event("6", agent_id="a")])
            assert ids(await taken(every, 1)) == ["6"]

    async def test_the_events_of_a_group_come_stored_and_live(self, storage: Storage) -> None:
        await storage.store_many([an_event("1", group="g"), an_event("2"), an_event("3", group="h")])
        async with (
            aclosing(storage.watch_events(group="g")) as every,
            aclosing(storage.watch_events(group="g", agent_id="a")) as some,
        ):
            assert ids(await taken(every, 1)) == ["1"]

            await storage.store_many([an_event("4", group="h"), an_event("5", group="g", agent_id="a")])
            assert ids(await taken(every, 1)) == ids(await taken(some, 1)) == ["5"]

    @pytest.mark.parametrize("group", ["", 7, "\0"])
    async def test_what_is_no_group_is_refused(self, storage: Storage, group: Any) -> None:
        with pytest.raises(SerializationError, match=r"task\.group"):
            storage.watch_tasks(group=group)
        with pytest.raises(SerializationError, match=r"event\.group"):
            storage.watch_events(group=group)

    @pytest.mark.parametrize("filters", [{}, {"agent_id": "a"}, {"types": ["task_completed"]}])
    async def test_events_from_now_on_leave_out_what_is_stored(self, storage: Storage, filters: dict[str, Any]) -> None:
        await storage.store_many([an_event("1", agent_id="a"), an_event("2", agent_id="a")])
        async with aclosing(storage.watch_events("now", **filters)) as events:
            waiting = elsewhere(taken(events, 2))
            await begun(storage)

            await storage.store_many([an_event("3", agent_id="a"), an_event("4", agent_id="a")])

            assert ids(await waiting) == ["3", "4"]

    async def test_messages_from_now_on_leave_out_what_is_stored(self, storage: Storage) -> None:
        await storage.store_message(a_message("1"))
        async with aclosing(storage.watch_messages("worker-001", after="now")) as messages:
            waiting = elsewhere(taken(messages, 1))
            await begun(storage)

            await storage.store_many([a_message("2", to_agent="another"), a_message("3")])

            assert ids(await waiting) == ["3"]
