"""Facts about events and messages that commit in another order than that of their numbers."""

import asyncio
import random
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import asyncpg
import pytest

from polling import until
from postgres.conftest import blocked_by
from postgres.servers import Server, embedded_programs, new_server
from swarm_persistence import ConflictError, EventModel, PostgresStorage
from swarm_persistence.engines.following import BEFORE_ALL
from swarm_persistence.query.query import Query
from swarm_persistence.schema.tables import EVENTS
from swarm_persistence_conformance.callers import elsewhere
from swarm_persistence_conformance.records import a_message, an_event, ids
from swarm_persistence_conformance.waiting import LIMIT_SECONDS


async def first(count: int, records: AsyncGenerator[Any, None]) -> list[Any]:
    """Return the first records that a watcher sees, which must come soon, and end it."""
    seen: list[Any] = []
    async with aclosing(records), asyncio.timeout(LIMIT_SECONDS):
        while len(seen) < count:
            seen.append(await anext(records))
    return seen


async def is_held_back(storage: PostgresStorage) -> bool:
    """Tell whether there are events that do not show yet."""
    page = await storage._engine.follow(Query(EVENTS), BEFORE_ALL, 100)
    return page.is_held_back


class TestWriters:
    async def test_a_transaction_that_has_stored_events_and_messages_holds_up_no_other(
        self, storage: PostgresStorage, other: PostgresStorage
    ) -> None:
        async def store() -> None:
            async with asyncio.timeout(LIMIT_SECONDS):
                await other.store_event(an_event("e-2"))
                await other.store_message(a_message("m-2"))
                await other.append_events([an_event("e-3"), an_event("e-4")])

        async with storage.transaction():
            await storage.store_event(an_event("e-1"))
            await storage.store_message(a_message("m-1"))
            await elsewhere(store())

        assert ids(await storage.read_events()) == ["e-1", "e-2", "e-3", "e-4"]

    async def test_a_long_transaction_holds_one_lock_a_table(
        self, storage: PostgresStorage, admin: asyncpg.Connection
    ) -> None:
        async with storage.transaction():
            for number in range(50):
                await storage.store_event(an_event(f"{number}"))
                await storage.store_message(a_message(f"{number}"))
            taken = await admin.fetchval("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")

        assert taken == 2

    async def test_a_role_without_a_right_to_the_sequence_stores_events(
        self, storage: PostgresStorage, server: Server, schema: str, admin: asyncpg.Connection
    ) -> None:
        await admin.execute(
            f"CREATE ROLE hand_{schema} LOGIN PASSWORD 'hand'; GRANT USAGE ON SCHEMA {schema} TO hand_{schema}; "
            f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO hand_{schema}"
        )
        async with await PostgresStorage.open(
            server.url(user=f"hand_{schema}", password="hand", schema=schema)
        ) as hand:
            assert (await hand.store_event(an_event())).sequence == 1


class TestReaders:
    @pytest.mark.parametrize("is_committed", [True, False])
    async def test_a_watcher_sees_an_event_once_those_before_it_are_decided(
        self, storage: PostgresStorage, other: PostgresStorage, is_committed: bool
    ) -> None:
        await storage.store_event(an_event("before"))
        transaction = await storage.begin_transaction()
        await storage.store_event(an_event("lower"))
        await elsewhere(other.store_event(an_event("higher")))
        watching = elsewhere(first(3 if is_committed else 2, other.watch_events()))

        seen = await elsewhere(other.read_events())
        assert ids(seen) == ["before"]
        assert await elsewhere(is_held_back(other))
        await (transaction.commit() if is_committed else transaction.rollback())

        expected = ["before", "lower", "higher"] if is_committed else ["before", "higher"]
        assert ids(await watching) == expected
        assert ids(await other.read_events()) == expected

    async def test_a_watcher_of_a_type_misses_none_that_commits_later(
        self, storage: PostgresStorage, other: PostgresStorage
    ) -> None:
        watching = elsewhere(first(2, other.watch_events(types=["wanted"])))
        async with storage.transaction():
            await storage.store_event(an_event("lower", event_type="wanted"))
            await elsewhere(other.store_event(an_event("between", event_type="other")))
            await elsewhere(other.store_event(an_event("higher", event_type="wanted")))
            await until(lambda: elsewhere(is_held_back(other)))

        assert ids(await watching) == ["lower", "higher"]

    async def test_a_transaction_reads_its_own_events_beside_others(
        self, storage: PostgresStorage, other: PostgresStorage
    ) -> None:
        async with storage.transaction():
            await storage.store_event(an_event("lower"))

            async def store_and_read() -> list[EventModel]:
                async with other.transaction():
                    await other.store_event(an_event("own"))
                    return await other.read_events()

            assert ids(await elsewhere(store_and_read())) == ["own"]

    async def test_no_message_is_marked_as_read_that_could_not_be_seen(
        self, storage: PostgresStorage, other: PostgresStorage
    ) -> None:
        await storage.store_message(a_message("seen", to_agent="b"))
        async with storage.transaction():
            await storage.store_message(a_message("lower", to_agent="b"))
            await elsewhere(other.store_message(a_message("higher", to_agent="b")))
            unread = await elsewhere(other.get_unread_messages("b"))
        assert ids(unread) == ["seen"]

        await other.mark_messages_read("b", up_to=unread[-1])

        assert set(ids(await other.get_unread_messages("b"))) == {"lower", "higher"}

    async def test_a_watcher_from_the_end_sees_an_event_that_was_on_its_way(
        self, storage: PostgresStorage, other: PostgresStorage
    ) -> None:
        await storage.store_event(an_event("before"))
        async with storage.transaction():
            await storage.store_event(an_event("lower"))
            await elsewhere(other.store_event(an_event("higher")))
            end = await elsewhere(other.append_events([]))
            watching = elsewhere(first(2, other.watch_events(after=end)))

        assert ids(await watching) == ["lower", "higher"]

    async def test_the_end_of_a_log_whose_newest_events_are_deleted_lies_before_an_event_that_was_on_its_way(
        self, storage: PostgresStorage, other: PostgresStorage
    ) -> None:
        async with storage.transaction():
            await storage.store_event(an_event("lower"))
            await elsewhere(other.store_event(an_event("higher")))
            await elsewhere(other.repository(EventModel).delete("higher"))
            end = await elsewhere(other.append_events([]))
            watching = elsewhere(first(1, other.watch_events(after=end)))

        assert ids(await watching) == ["lower"]
        assert await other.append_events([]) == 2

    async def test_a_watcher_repeats_nothing_when_the_newest_event_is_deleted_while_one_is_on_its_way(
        self, storage: PostgresStorage, other: PostgresStorage, rival: asyncpg.Connection, schema: str
    ) -> None:
        seen: list[EventModel] = []

        async def watch() -> None:
            async for event in other.watch_events():
                seen.append(event)  # noqa: PERF401 - it never ends

        watching = elsewhere(watch())
        for name in "abc":  # by and by, so that the feed gives them
            await storage.store_event(an_event(name))
            await until(lambda: ids(seen)[-1:] == [name])  # noqa: B023
        # As the trigger of a writer that noted the last number a while ago, and takes its lock only now.
        transaction = rival.transaction()
        await transaction.start()
        await rival.execute(f"SELECT pg_advisory_xact_lock_shared('{schema}.events'::regclass::oid::integer, 1)")
        await storage.store_event(an_event("d"))
        await storage.repository(EventModel).delete("c")
        await storage.repository(EventModel).delete("d")
        (feed,) = other._feeds._feeds.values()
        await until(lambda: feed._position.number == 1)
        await transaction.rollback()
        await storage.store_event(an_event("e"))
        await until(lambda: ids(seen)[-1] == "e")
        watching.cancel()

        assert ids(seen) == ["a", "b", "c", "e"]

    async def test_a_prepared_transaction_is_waited_for(self, schema: str) -> None:
        with new_server(embedded_programs(), max_prepared_transactions="10") as server:
            connection = await asyncpg.connect(server.url())
            async with await PostgresStorage.open(server.url(schema=schema)) as storage:
                await connection.execute(
                    f"BEGIN; INSERT INTO {schema}.events (id, event_type, data, timestamp) "
                    "VALUES ('prepared', 't', '{}', now()); PREPARE TRANSACTION 'one'"
                )
                await storage.store_event(an_event("higher"))
                assert await storage.read_events() == []
                await connection.execute("COMMIT PREPARED 'one'")
                assert ids(await storage.read_events()) == ["prepared", "higher"]
            await connection.close()

    async def test_a_savepoint_that_is_undone_hides_nothing(
        self, storage: PostgresStorage, other: PostgresStorage
    ) -> None:
        async with storage.transaction():
            nested = await storage.begin_transaction()
            await storage.store_event(an_event("undone"))
            await nested.rollback()
            await elsewhere(other.store_event(an_event("between")))
            await storage.store_event(an_event("kept"))
            await elsewhere(other.store_event(an_event("higher")))
            assert ids(await elsewhere(other.read_events())) == ["between"]

        assert ids(await other.read_events()) == ["between", "kept", "higher"]


class TestExpectations:
    @pytest.mark.parametrize("is_committed", [True, False])
    async def test_an_expected_last_event_is_looked_for_once_those_before_are_decided(
        self, storage: PostgresStorage, other: PostgresStorage, url: str, admin: asyncpg.Connection, is_committed: bool
    ) -> None:
        last = (await storage.store_event(an_event("last"))).sequence
        transaction = await storage.begin_transaction()
        await storage.store_event(an_event("lower"))
        appending = elsewhere(other.append_events([an_event("new")], expected_sequence=last))
        await blocked_by(admin, appending)
        async with await PostgresStorage.open(url) as third, asyncio.timeout(LIMIT_SECONDS):
            await elsewhere(third.store_event(an_event("another")))  # which waits for none of them
        await (transaction.commit() if is_committed else transaction.rollback())

        if is_committed:
            with pytest.raises(ConflictError):
                await appending
        else:
            await appending
        expected = ["last", "lower", "another"] if is_committed else ["last", "new", "another"]
        assert ids(await storage.read_events()) == expected

    async def test_of_many_that_expect_the_same_last_event_one_succeeds(
        self, storage: PostgresStorage, other: PostgresStorage, admin: asyncpg.Connection
    ) -> None:
        async def append(each: PostgresStorage, name: str, expected: int) -> int:
            try:
                return await each.append_events([an_event(name)], expected_sequence=expected)
            except ConflictError:
                return 0

        last = 0
        for turn in range(30):
            outcomes = await asyncio.gather(
                *(append(random.choice((storage, other)), f"{turn} {place}", last) for place in range(6))
            )
            assert sum(bool(outcome) for outcome in outcomes) == 1
            last = max(outcomes)
        assert len(await storage.read_events()) == 30


WRITER = """
import asyncio, random, sys
from swarm_persistence import EventModel, MessageModel, PostgresStorage

async def main(url, name, count):
    chance = random.Random(name)
    async with await PostgresStorage.open(url + "&parallel_transactions=true") as storage:
        def event(number):
            return EventModel(id=f"{name}-{number}", event_type=chance.choice("ab"), data=number)
        async def write(number):
            kind = chance.randrange(6)
            if kind == 0:
                transaction = await storage.begin_transaction()
                await storage.store_event(event(f"{number} undone"))
                await asyncio.sleep(chance.random() / 50)
                await transaction.rollback()
            elif kind == 1:
                async with storage.transaction():
                    nested = await storage.begin_transaction()
                    await storage.store_event(event(f"{number} undone"))
                    await nested.rollback()
                    await asyncio.sleep(chance.random() / 50)
                    await storage.store_event(event(number))
                    await asyncio.sleep(chance.random() / 50)
            elif kind == 2:
                async with storage.transaction():
                    await storage.store_event(event(number))
                    await asyncio.sleep(chance.random() / 20)
                    await storage.store_event(event(f"{number} more"))
            else:
                await storage.store_event(event(number))
            await storage.store_message(MessageModel.new(name, chance.choice(["x", "y"]), "t", number))
        for number in range(0, int(count), 3):
            await asyncio.gather(*(write(number + place) for place in range(3)))

asyncio.run(main(*sys.argv[1:]))
"""


class TestHammer:
    async def test_watchers_and_readers_miss_nothing_and_see_no_number_fall(
        self, storage: PostgresStorage, other: PostgresStorage, url: str
    ) -> None:
        seen: dict[str, list[int]] = {"all": [], "a": [], "read": [], "read by the other": [], "messages": []}

        async def watch(name: str, records: AsyncGenerator[Any, None]) -> None:
            async for record in records:
                seen[name].append(record.sequence)

        async def read(name: str, each: PostgresStorage) -> None:
            while True:
                events = await each.read_events(max(seen[name], default=0), 7)
                seen[name] += [event.sequence or 0 for event in events]
                await asyncio.sleep(0.001)

        async def watch_messages() -> None:
            async for message in storage.watch_messages("x"):
                seen["messages"].append(message.content)

        watching = [
            elsewhere(watch("all", storage.watch_events())),
            elsewhere(watch("a", other.watch_events(types=["a"]))),
            elsewhere(read("read", storage)),
            elsewhere(read("read by the other", other)),
            elsewhere(watch_messages()),
        ]
        writers = [
            await asyncio.create_subprocess_exec(sys.executable, "-c", WRITER, url, f"w{place}", "90")
            for place in range(6)
        ]
        assert await asyncio.gather(*(writer.wait() for writer in writers)) == [0] * 6
        events = await storage.repository(EventModel).find_all()
        numbers = sorted(event.sequence or 0 for event in events)
        of_a = sorted(event.sequence or 0 for event in events if event.event_type == "a")
        expected = {"all": numbers, "a": of_a, "read": numbers, "read by the other": numbers}
        lengths = {name: len(each) for name, each in expected.items()}
        sent = len([m for name in range(6) for m in await storage.get_messages_between(f"w{name}", "x", 1000)])
        lengths["messages"] = sent
        await until(lambda: all(len(seen[name]) >= count for name, count in lengths.items()))
        for task in watching:
            task.cancel()

        assert {name: seen[name] for name in expected} == expected
        assert len(seen["messages"]) == sent
