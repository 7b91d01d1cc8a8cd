"""Facts about watching: first the stored records, then new commits, without gaps or duplicates."""

import asyncio
import gc
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

import pytest

from swarm_persistence import ClosedError, EventModel, Storage, TransactionError
from swarm_persistence_conformance.callers import elsewhere
from swarm_persistence_conformance.fixtures import OpenStorage
from swarm_persistence_conformance.records import a_message, a_task, an_event, ids
from swarm_persistence_conformance.waiting import FOR_LONG_SECONDS, SOON_SECONDS, settle

WATCHES: dict[str, Callable[[Storage], AsyncGenerator[Any, None]]] = {
    "watch_events": lambda storage: storage.watch_events(),
    "watch_messages": lambda storage: storage.watch_messages("worker-001"),
    "watch_tasks": lambda storage: storage.watch_tasks(),
}
MAKERS: dict[str, Callable[[str], Any]] = {"watch_events": an_event, "watch_messages": a_message, "watch_tasks": a_task}


_FAR_AHEAD = 10**15
"""A sequence beyond thousands of periods, where a table is partitioned."""


async def first(count: int, records: AsyncGenerator[Any, None]) -> list[Any]:
    """Return the first `count` records of a watcher, and close it."""
    taken: list[Any] = []
    async with aclosing(records), asyncio.timeout(FOR_LONG_SECONDS):
        while len(taken) < count:
            taken.append(await anext(records))
    return taken


@pytest.mark.asyncio
class TestWatching:
    """The contract of `watch_events` and `watch_messages`."""

    @pytest.mark.parametrize("verb", WATCHES)
    async def test_the_past_comes_first_then_what_is_stored(self, storage: Storage, verb: str) -> None:
        make = MAKERS[verb]
        await storage.store_many([make("a"), make("b")])

        async with aclosing(WATCHES[verb](storage)) as records, asyncio.timeout(SOON_SECONDS):
            past = [(await anext(records)).id for _ in range(2)]
            live = elsewhere(_next(records))
            await settle(storage)
            assert not live.done()
            await storage.store_many([make("c")])

            assert (past, (await live).id) == (["a", "b"], "c")

    @pytest.mark.parametrize("verb", WATCHES)
    async def test_a_record_comes_as_it_is_stored(self, storage: Storage, verb: str) -> None:
        record = MAKERS[verb]("a")
        await storage.store_many([record])

        assert await first(1, WATCHES[verb](storage)) == [record]

    @pytest.mark.parametrize("verb", WATCHES)
    async def test_a_long_past_comes_whole(self, storage: Storage, verb: str) -> None:
        names = [f"record-{number}" for number in range(1203)]
        await storage.store_many([MAKERS[verb](name) for name in names[:700]])
        await storage.store_many([MAKERS[verb](name) for name in names[700:]])

        assert ids(await first(1203, WATCHES[verb](storage))) == names

    @pytest.mark.parametrize("verb", WATCHES)
    async def test_a_watcher_on_an_empty_storage_waits_for_the_first(self, storage: Storage, verb: str) -> None:
        watching = elsewhere(first(1, WATCHES[verb](storage)))
        await settle(storage)

        await storage.store_many([MAKERS[verb]("a")])

        async with asyncio.timeout(SOON_SECONDS):
            assert ids(await watching) == ["a"]

    @pytest.mark.parametrize("verb", WATCHES)
    async def test_what_is_rolled_back_is_never_seen(self, storage: Storage, verb: str) -> None:
        make = MAKERS[verb]
        watching = elsewhere(first(2, WATCHES[verb](storage)))

        transaction = await storage.begin_transaction()
        await storage.store_many([make("undone")])
        await transaction.rollback()
        async with storage.transaction():
            await storage.store_many([make("kept")])
            nested = await storage.begin_transaction()
            await storage.store_many([make("undone too")])
            await nested.rollback()
        await storage.store_many([make("last")])

        assert ids(await watching) == ["kept", "last"]

    @pytest.mark.parametrize("verb", WATCHES)
    async def test_a_watcher_may_write_and_take_its_time(self, storage: Storage, verb: str) -> None:
        make = MAKERS[verb]
        await storage.store_many([make("0")])
        seen: list[str] = []

        async with aclosing(WATCHES[verb](storage)) as records, asyncio.timeout(FOR_LONG_SECONDS):
            async for record in records:
                seen.append(record.id)
                if len(seen) == 10:
                    break
                async with storage.transaction():
                    await storage.store_many([make(str(len(seen)))])
                await settle(storage)

        assert seen == [str(number) for number in range(10)]

    @pytest.mark.parametrize("verb", WATCHES)
    async def test_watching_within_a_transaction_is_refused(self, storage: Storage, verb: str) -> None:
        async with storage.transaction():
            with pytest.raises(TransactionError, match=verb):
                await anext(WATCHES[verb](storage))
            await storage.store_event(an_event())

        assert len(await storage.read_events()) == 1

    @pytest.mark.parametrize("verb", WATCHES)
    async def test_a_watcher_whose_storage_is_closed_is_told(self, open_storage: OpenStorage, verb: str) -> None:
        async with open_storage() as storage:
            waiting = elsewhere(first(1, WATCHES[verb](storage)))
            idle = WATCHES[verb](storage)
            await settle(storage)

            await storage.close()

            async with asyncio.timeout(SOON_SECONDS):
                with pytest.raises(ClosedError):
                    await waiting
                with pytest.raises(ClosedError):
                    await anext(idle)
                with pytest.raises(ClosedError):
                    await anext(WATCHES[verb](storage))

    @pytest.mark.parametrize("verb", WATCHES)
    async def test_a_watcher_that_is_dropped_or_cancelled_does_not_block_other_callers(
        self, storage: Storage, verb: str
    ) -> None:
        make = MAKERS[verb]
        await storage.store_many([make("a")])
        dropped = WATCHES[verb](storage)
        await anext(dropped)
        cancelled = elsewhere(first(5, WATCHES[verb](storage)))
        await settle(storage)

        del dropped
        gc.collect()
        cancelled.cancel()
        await asyncio.gather(cancelled, return_exceptions=True)
        await storage.store_many([make("b")])

        assert cancelled.cancelled()
        assert ids(await first(2, WATCHES[verb](storage))) == ["a", "b"]
        await storage.vacuum()

    async def test_three_watchers_see_the_whole_log_while_many_write(self, storage: Storage) -> None:
        await storage.store_many([an_event(f"past-{number}") for number in range(20)])

        async def write(name: str) -> None:
            for number in range(15):
                if number % 3 == 0:
                    await storage.append_events([an_event(f"{name}-{number}-{part}") for part in "abc"])
                elif number % 3 == 1:
                    async with storage.transaction():
                        await storage.store_event(an_event(f"{name}-{number}"))
                        await asyncio.sleep(0)
                        await storage.store_task(a_task(f"{name}-{number}"))
                else:
                    await storage.store_event(an_event(f"{name}-{number}"))

        total = 20 + 6 * (5 * 3 + 10)
        watchers = [elsewhere(first(total, storage.watch_events())) for _ in range(3)]
        await asyncio.gather(*(elsewhere(write(f"writer-{number}")) for number in range(6)))

        seen = await asyncio.gather(*watchers)
        log = await storage.read_events()
        assert len(log) == total
        assert seen == [log] * 3

    async def test_events_can_be_watched_from_a_place_on_and_by_type(self, storage: Storage) -> None:
        log = [an_event(id, event_type=id[0]) for id in ("a1", "b1", "a2", "c1")]
        await storage.store_many(log)

        watching = elsewhere(first(3, storage.watch_events(log[0].sequence or 0, types=["a", "c"])))
        await settle(storage)
        await storage.store_many([an_event(id, event_type=id[0]) for id in ("b2", "b3", "a3")])

        assert ids(await watching) == ["a2", "c1", "a3"]

    async def test_a_watcher_goes_on_where_another_one_ended(self, storage: Storage) -> None:
        await storage.store_many([an_event(str(number)) for number in range(30)])
        seen: list[EventModel] = []

        while len(seen) < 30:
            last = seen[-1].sequence if seen else 0
            seen += await first(6, storage.watch_events(last or 0))

        assert ids(seen) == [str(number) for number in range(30)]

    @pytest.mark.parametrize("types", [None, ["task"]])
    async def test_one_that_waits_for_a_place_far_ahead_does_not_block_other_callers(
        self, storage: Storage, types: list[str] | None
    ) -> None:
        ahead = elsewhere(first(1, storage.watch_events(_FAR_AHEAD, types=types)))
        await settle(storage)
        watching = elsewhere(first(2, storage.watch_events(types=types)))
        await settle(storage)

        for id in ("a", "b"):
            await storage.store_event(an_event(id, event_type="task"))

        async with asyncio.timeout(SOON_SECONDS):
            assert ids(await watching) == ["a", "b"]
        assert not ahead.done()
        ahead.cancel()
        await asyncio.gather(ahead, return_exceptions=True)

    async def test_messages_to_others_are_not_seen(self, storage: Storage) -> None:
        await storage.store_many([a_message("a", to_agent="x"), a_message("b", to_agent="y")])
        watching = elsewhere(first(2, storage.watch_messages("x")))

        await storage.store_message(a_message("c", to_agent="y"))
        await storage.store_message(a_message("d", to_agent="x"))

        assert ids(await watching) == ["a", "d"]

    async def test_messages_can_be_watched_from_a_place_on_read_or_not(self, storage: Storage) -> None:
        messages = [a_message(id) for id in ("a", "b", "c")]
        await storage.store_many(messages)
        await storage.mark_message_read("b")

        assert ids(await first(2, storage.watch_messages("worker-001", messages[0].sequence or 0))) == ["b", "c"]


async def _next(records: AsyncGenerator[Any, None]) -> Any:
    return await anext(records)
