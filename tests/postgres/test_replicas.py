"""Facts about a storage on one read-only server: reads and watches work, and a write is refused at once."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import asyncpg
import pytest
import pytest_asyncio

from polling import until
from postgres.servers import Server, embedded_programs, new_server
from postgres.test_failover import new_standby
from swarm_persistence import DatabaseError, EventModel, MigrationError, PostgresStorage
from swarm_persistence_conformance.callers import elsewhere
from swarm_persistence_conformance.records import (
    a_message,
    a_task,
    an_agent,
    an_event,
    complete_records,
    everything_in,
    ids,
)

AT_ONCE_SECONDS = 10.0
"""A third of the time that was waited in vain for a promotion."""


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def servers() -> AsyncIterator[tuple[Server, Server]]:
    """Give a primary and a standby that it waits for at each commit, until the commit can be read there."""
    with new_server(embedded_programs()) as primary, new_standby(primary) as standby:
        primary.configure({"synchronous_standby_names": "standby", "synchronous_commit": "remote_apply"})
        primary.reload()
        yield primary, standby


@pytest_asyncio.fixture
async def primary(servers: tuple[Server, Server], schema: str) -> AsyncIterator[PostgresStorage]:
    """Give a storage on the primary."""
    async with await PostgresStorage.open(servers[0].url(schema=schema)) as storage:
        yield storage


@pytest_asyncio.fixture
async def replica(
    servers: tuple[Server, Server], primary: PostgresStorage, schema: str
) -> AsyncIterator[PostgresStorage]:
    """Give a storage on the standby."""
    await primary.store_agent(an_agent("first"))  # whose commit waits for the standby to have the tables, too
    async with await PostgresStorage.open(servers[1].url(schema=schema)) as storage:
        yield storage


class TestReading:
    async def test_every_kind_of_record_is_read(self, primary: PostgresStorage, replica: PostgresStorage) -> None:
        await primary.store_many(complete_records())

        assert await everything_in(replica) == await everything_in(primary)
        async with replica.transaction():
            assert await everything_in(replica) == await everything_in(primary)
        assert await replica.get_storage_size() > 0
        assert (await replica.migration_status()).version > 0

    async def test_events_and_changes_of_tasks_are_watched(
        self, primary: PostgresStorage, replica: PostgresStorage
    ) -> None:
        async def first_task() -> str:
            async for task in replica.watch_tasks():
                return task.id
            raise AssertionError("the watch has ended")

        watching = [elsewhere(next_event(replica)), elsewhere(first_task())]
        await until(lambda: replica._engine._loop_engine().notifications._connection is not None)
        await primary.store_event(an_event("new"))
        await primary.store_task(a_task("new"))

        async with asyncio.timeout(20):
            assert await asyncio.gather(*watching) == ["new", "new"]

    async def test_events_show_once_those_before_them_are_decided(
        self, primary: PostgresStorage, replica: PostgresStorage, servers: tuple[Server, Server], schema: str
    ) -> None:
        await primary.store_event(an_event("before"))
        writers = [await asyncpg.connect(servers[0].url()) for _ in range(2)]
        store = f"INSERT INTO {schema}.events (id, event_type, data, timestamp) VALUES ('%s', 't', '{{}}', now())"
        try:
            # The one that commits first has its number of a transaction first, too.
            await writers[0].execute("BEGIN; SELECT pg_current_xact_id()")
            await writers[1].execute(f"BEGIN; {store % 'lower'}")
            await writers[0].execute(f"{store % 'higher'}; COMMIT")
            assert "higher" in ids(await replica.repository(EventModel).find_all())
            assert "higher" not in ids(await replica.read_events())
            watching = elsewhere(next_events(replica, 3))
            await writers[1].execute("COMMIT")

            async with asyncio.timeout(AT_ONCE_SECONDS):
                assert await watching == ["before", "lower", "higher"]
            assert ids(await replica.read_events()) == ["before", "lower", "higher"]
        finally:
            for writer in writers:
                await writer.close()

    async def test_the_connection_that_cannot_listen_is_kept_to_look_on(self, replica: PostgresStorage) -> None:
        waiting = elsewhere(next_event(replica))
        notifications = replica._engine._loop_engine().notifications
        await until(lambda: notifications._last_snapshot != "")
        link = notifications._connection
        waiting.cancel()

        assert link is not None
        assert not link.is_closed


async def next_event(storage: PostgresStorage) -> str:
    """Wait for an event, and return its id."""
    async for event in storage.watch_events(after=0):
        return event.id
    raise AssertionError("the watch has ended")


async def next_events(storage: PostgresStorage, count: int) -> list[str]:
    """Wait for some events, and return their ids."""
    seen: list[str] = []
    async for event in storage.watch_events(after=0):
        seen.append(event.id)
        if len(seen) == count:
            return seen
    raise AssertionError("the watch has ended")


WRITES: dict[str, Callable[[PostgresStorage], Awaitable[object]]] = {
    "store_task": lambda storage: storage.store_task(a_task()),
    "store_tasks": lambda storage: storage.store_tasks([a_task("1"), a_task("2", dependencies=["1"])]),
    "store_message": lambda storage: storage.store_message(a_message()),
    "claim_task": lambda storage: storage.claim_task("task-1", "agent-1"),
    "claim_next_task": lambda storage: storage.claim_next_task("agent-1"),
    "delete_agent": lambda storage: storage.delete_agent("first"),
}


class TestWriting:
    @pytest.mark.parametrize("verb", WRITES)
    async def test_each_write_is_refused_at_once(self, replica: PostgresStorage, verb: str) -> None:
        async with asyncio.timeout(AT_ONCE_SECONDS):
            with pytest.raises(DatabaseError, match=r"127.0.0.1:\d+: the server is read-only; it is a standby"):
                await WRITES[verb](replica)

    async def test_so_is_one_in_a_transaction(self, replica: PostgresStorage) -> None:
        async def transact() -> None:
            async with replica.transaction():
                await replica.store_task(a_task())

        async with asyncio.timeout(AT_ONCE_SECONDS):
            with pytest.raises(DatabaseError, match="is read-only"):
                await transact()

    async def test_a_role_that_is_kept_from_writing_is_told_so_at_once(
        self, url: str, storage: PostgresStorage
    ) -> None:
        read_only = f"{url}&options=-c%20default_transaction_read_only%3Don"
        async with await PostgresStorage.open(read_only) as reader, asyncio.timeout(AT_ONCE_SECONDS):
            with pytest.raises(DatabaseError, match="is read-only"):
                await reader.store_task(a_task())
            assert await reader.get_pending_tasks() == []


class TestOpening:
    async def test_a_schema_that_is_missing_there_is_not_created(
        self, servers: tuple[Server, Server], schema: str
    ) -> None:
        async with asyncio.timeout(AT_ONCE_SECONDS):
            with pytest.raises(MigrationError, match=rf"'{schema}'.*is read-only.*on the primary"):
                await PostgresStorage.open(servers[1].url(schema=schema))


class TestPromotion:
    async def test_a_storage_that_has_written_waits_for_the_promotion(
        self, storage: PostgresStorage, server: Server, admin: asyncpg.Connection, schema: str
    ) -> None:
        role = f"demoted_{schema}"
        await admin.execute(f"CREATE ROLE {role} LOGIN SUPERUSER PASSWORD 'x'")
        async with await PostgresStorage.open(server.url(user=role, password="x", schema=schema)) as demoted:
            await demoted.store_task(a_task("1"))
            await admin.execute(f"ALTER ROLE {role} SET default_transaction_read_only = on")
            await admin.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'")
            store = elsewhere(demoted.store_task(a_task("2")))
            done, _ = await asyncio.wait((store,), timeout=0.3)
            assert not done
            await admin.execute(f"ALTER ROLE {role} RESET default_transaction_read_only")
            await store

        assert sorted(ids(await storage.get_pending_tasks())) == ["1", "2"]
