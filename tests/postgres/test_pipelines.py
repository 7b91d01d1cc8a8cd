"""Facts about statements on sessions that other clients use too: what they cost, and what may change beneath them."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from postgres.pauses import RecordingAsyncio
from postgres.poolers import FIRST_TO_KEEP_STATEMENTS, new_pooler, new_restartable_pooler, pooler_version
from postgres.proxies import Proxy
from postgres.servers import Server, embedded_programs, new_server
from postgres.test_cached_plans import change_types
from swarm_persistence import EventModel, PostgresStorage, TaskModel, Worker
from swarm_persistence.engines.sql.postgres import notifications
from swarm_persistence.engines.sql.postgres.connector import ARRAY_TYPES
from swarm_persistence.engines.sql.postgres.statements import OutdatedTypesError
from swarm_persistence_conformance.callers import elsewhere
from swarm_persistence_conformance.records import a_task, an_agent, an_event, ids

FIRST_TO_KEEP_THEM_BY_DEFAULT = (1, 24)


@pytest.fixture(scope="module")
def counting_server() -> Iterator[Server]:
    """Give a server that counts statements."""
    with new_server(embedded_programs(), shared_preload_libraries="pg_stat_statements") as server:
        asyncio.run(_start_to_count(server))
        yield server


async def _start_to_count(server: Server) -> None:
    admin = await asyncpg.connect(server.url())
    await admin.execute("CREATE EXTENSION pg_stat_statements")
    await admin.execute("CREATE DATABASE strangers")
    await admin.close()


@asynccontextmanager
async def busy_strangers(server: Server) -> AsyncIterator[None]:
    """Let other programs write all the time: to another schema, and to another database of the server."""

    async def write(database: str) -> None:
        connection = await asyncpg.connect(server.url(database=database))
        try:
            await connection.execute("CREATE SCHEMA strangers; CREATE TABLE strangers.rows (number integer)")
            while True:
                await connection.execute("INSERT INTO strangers.rows VALUES (1)")
                await asyncio.sleep(0.005)
        finally:
            connection.terminate()

    writing = [elsewhere(write(database)) for database in ("postgres", "strangers")]
    try:
        yield
    finally:
        for writer in writing:
            writer.cancel()
        await asyncio.wait(writing)
    assert all(writer.cancelled() for writer in writing)


async def calm(counting: asyncpg.Connection, count: str) -> None:
    """Wait until hardly any statements are run within a second."""
    async with asyncio.timeout(60):
        before = -1000
        while (now := await counting.fetchval(count)) - before > 5:
            before = now
            await asyncio.sleep(1)


class TestCosts:
    @pytest.mark.parametrize("prepared", ["off", "on"])
    async def test_a_statement_is_one_round_trip_with_all_that_sets_up_its_transaction(
        self, proxy: Proxy, schema: str, prepared: str
    ) -> None:
        async with await PostgresStorage.open(proxy.url(schema=schema, prepared_statements=prepared)) as storage:
            connection = await storage._engine._loop_engine().pool.acquire(float("inf"))
            for _ in range(2):
                trips = proxy.round_trips
                await connection.run(f"SELECT name, version FROM {schema}.agents WHERE id = $1", ("1",))
                await connection.count(f"UPDATE {schema}.agents SET version = 0 WHERE id = $1", ("1",))
                await connection.begin()
                await connection.run(f"SELECT name FROM {schema}.agents WHERE id = $1", ("1",))
                await connection.commit()
            storage._engine._loop_engine().pool.release(connection)

            assert proxy.round_trips - trips == 5

    async def test_the_driver_does_not_ask_for_types_between_two_statements(self, proxy: Proxy, schema: str) -> None:
        # A pooler would give the question's two round trips to two sessions of the server.
        async with await PostgresStorage.open(proxy.url(schema=schema, prepared_statements="off")) as storage:
            connection = await storage._engine._loop_engine().pool.acquire(float("inf"))
            trips = proxy.round_trips
            for type in ARRAY_TYPES:
                assert await connection.run(f"SELECT $1::{type}[]", (None,)) == [(None,)]
            storage._engine._loop_engine().pool.release(connection)

            assert proxy.round_trips - trips == 2 * len(ARRAY_TYPES)  # to prepare, and to execute

    async def test_waiting_behind_a_pooler_takes_ever_fewer_statements(
        self, counting_server: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        recording = RecordingAsyncio()
        monkeypatch.setattr(notifications, "asyncio", recording)
        counting = await asyncpg.connect(counting_server.url())
        count = "SELECT sum(calls)::bigint FROM pg_stat_statements"
        async with new_pooler(counting_server) as url, await PostgresStorage.open(f"{url}?schema=idle") as storage:
            before = await counting.fetchval(count)
            assert await storage.claim_next_task("agent-1", wait=4) is None
            statements = await counting.fetchval(count) - before
        settings = await counting.fetchval(f"{count} WHERE query LIKE 'SET client_encoding%'") or 0
        await counting.close()

        # About 13 times, a look is one statement. The claim, and what comes before the wait, are the others.
        assert statements <= 80
        assert settings <= 2  # by the pooler, which could do so before each transaction
        assert 0 < max(recording.pauses) < 0.05  # before a poll that follows another commit

    async def test_an_idle_worker_behind_a_pooler_takes_no_notice_of_strangers(self, counting_server: Server) -> None:
        counting = await asyncpg.connect(counting_server.url())
        count = (
            "SELECT sum(calls)::bigint FROM pg_stat_statements JOIN pg_database ON oid = dbid "
            "WHERE datname = 'postgres' AND query NOT LIKE '%strangers%'"
        )
        done = asyncio.Event()

        async def work(task: TaskModel) -> None:
            done.set()

        async with (
            new_pooler(counting_server) as url,
            await PostgresStorage.open(f"{url}?schema=beside_strangers") as storage,
            await PostgresStorage.open(counting_server.url(schema="beside_strangers")) as other,
            busy_strangers(counting_server),
            Worker(storage, an_agent(), {"work": work}),
        ):
            await calm(counting, count)  # it has begun with commits of its own
            before = await counting.fetchval(count)
            await asyncio.sleep(10)
            statements = await counting.fetchval(count) - before
            await other.store_task(a_task(task_type="work"))
            async with asyncio.timeout(20):
                await done.wait()
        await counting.close()

        assert statements <= 50


class TestPreparedStatements:
    @pytest.mark.parametrize("number", [None, 0, 100])
    async def test_they_are_used_behind_a_pooler_that_keeps_them_apart(
        self, server: Server, schema: str, number: int | None
    ) -> None:
        keeps = pooler_version() >= FIRST_TO_KEEP_STATEMENTS and bool(number)
        if number is None:
            keeps = pooler_version() >= FIRST_TO_KEEP_THEM_BY_DEFAULT
        async with (
            new_pooler(server, max_prepared_statements=number) as url,
            await PostgresStorage.open(f"{url}?schema={schema}") as storage,
        ):
            assert storage._engine.pools.connector.named.are_kept is keeps

    async def test_a_pooler_that_loses_them_fails_no_call(self, server: Server, schema: str) -> None:
        async with (
            new_pooler(server, max_prepared_statements=0) as url,
            await PostgresStorage.open(f"{url}?schema={schema}&prepared_statements=on") as storage,
        ):
            for round in range(5):
                numbers = [f"{round}-{number}" for number in range(20)]
                await asyncio.gather(*(storage.store_agent(an_agent(number)) for number in numbers))
                await asyncio.gather(*(elsewhere(storage.list_agents()) for _ in numbers))
                await asyncio.gather(*(storage.claim_task(f"task-{number}", "agent-1") for number in numbers))

            assert len(await storage.list_agents()) == 100
            assert not storage._engine.pools.connector.named.are_kept

    async def test_one_that_loses_them_while_a_connection_is_opened_fails_no_call(
        self, server: Server, schema: str
    ) -> None:
        async with new_pooler(server, max_prepared_statements=0) as url:
            target = f"{url}?schema={schema}&prepared_statements=on"
            async with await PostgresStorage.open(target):
                pass
            for _ in range(5):
                async with await PostgresStorage.open(target) as storage:
                    # Each in an event loop of its own, with connections of its own.
                    await asyncio.gather(*(asyncio.to_thread(asyncio.run, _store_events(storage)) for _ in range(8)))

    async def test_nothing_is_left_at_the_pooler_by_the_look_for_them(self, server: Server, schema: str) -> None:
        async with new_pooler(server, size=1, max_prepared_statements=0) as url:
            async with await PostgresStorage.open(f"{url}?schema={schema}") as storage:
                await storage.store_agent(an_agent())
            client = await asyncpg.connect(url, statement_cache_size=0)
            names = await client.fetch("SELECT name FROM pg_prepared_statements WHERE name <> ''")
            await client.close()

        assert names == []


async def _store_events(storage: PostgresStorage) -> None:
    for _ in range(3):
        await storage.store_event(EventModel.new("stored", {}))


async def use(storage: PostgresStorage, round: str) -> None:
    """Read and write in ways whose answers hold columns."""
    await storage.store_task(a_task(round))
    await storage.store_agent(an_agent(round))
    await storage.store_event(an_event(round))
    assert await storage.get_task(round)
    assert round in ids(await storage.get_pending_tasks())
    assert round in ids(await storage.list_agents())
    assert round in ids(await storage.get_events_since(0))


class TestChanges:
    async def test_calls_go_on_when_a_columns_type_changes(
        self, server: Server, schema: str, admin: asyncpg.Connection
    ) -> None:
        async with new_pooler(server) as url, await PostgresStorage.open(f"{url}?schema={schema}") as storage:
            for type in ("text", "varchar", "varchar(100)", "text"):
                await change_types(admin, schema, type)
                for round in range(3):
                    await asyncio.gather(*(elsewhere(use(storage, f"{type}-{round}-{place}")) for place in range(8)))
                await admin.execute(f"TRUNCATE {schema}.tasks, {schema}.agents, {schema}.events")

    async def test_an_answer_of_other_types_is_never_read_as_one_of_those_before(
        self, url: str, schema: str, admin: asyncpg.Connection
    ) -> None:
        async with await PostgresStorage.open(f"{url}&prepared_statements=off") as storage:
            await storage.store_agent(an_agent("1"))
            pool = storage._engine._loop_engine().pool
            connection = await pool.acquire(float("inf"))
            text = f"UPDATE {schema}.agents SET version = version + 1 RETURNING name, version"
            assert [row[1] for row in await connection.run(text)] == [2]
            await change_types(admin, schema, "varchar")

            with pytest.raises(OutdatedTypesError):
                await connection.run(text)

            assert connection.is_closed
            assert connection.has_outdated_plans
            pool.release(connection)
            agent = await storage.get_agent("1")
            assert agent is not None
            assert agent.version == 3  # so its outcome is not known to the caller

    async def test_a_value_that_no_column_can_hold_leaves_the_others_in_peace(self, url: str) -> None:
        async with await PostgresStorage.open(f"{url}&prepared_statements=off") as storage:
            connection = await storage._engine._loop_engine().pool.acquire(float("inf"))
            text = "SELECT $1::smallint"
            assert await connection.run(text, (1,)) == [(1,)]
            with pytest.raises(asyncpg.DataError):
                await connection.run(text, (100_000,))
            assert connection.is_closed
            storage._engine._loop_engine().pool.release(connection)

            await storage.store_agent(an_agent())

    async def test_an_answer_that_comes_in_many_pieces_is_whole(self, url: str) -> None:
        payload = "x" * 10_000
        async with await PostgresStorage.open(f"{url}&prepared_statements=off") as storage:
            await storage.store_tasks([a_task(f"{number}", payload=payload * (number % 50)) for number in range(500)])
            for _ in range(2):
                tasks = await storage.get_pending_tasks()
                assert len(tasks) == 500
                assert all(task.payload == payload * (int(task.id) % 50) for task in tasks)

    async def test_calls_go_on_when_the_pooler_is_restarted(self, server: Server, schema: str) -> None:
        async with (
            new_restartable_pooler(server) as pooler,
            await PostgresStorage.open(f"{pooler.url}?schema={schema}") as storage,
        ):
            stored: list[str] = []
            are_stored = asyncio.Event()
            wanted = 100

            async def work(place: int) -> None:
                number = 0
                while wanted < 400:
                    number += 1
                    await storage.store_agent(an_agent(f"{place}-{number}"))
                    stored.append(f"{place}-{number}")
                    if len(stored) >= wanted:
                        are_stored.set()
                    assert await storage.get_agent(f"{place}-{number}")

            working = [elsewhere(work(place)) for place in range(8)]
            while wanted < 400:
                await are_stored.wait()
                are_stored.clear()
                pooler.stop()
                await pooler.start()
                wanted += 100
            await asyncio.gather(*working)

            assert {*stored} == {*ids(await storage.list_agents())}
