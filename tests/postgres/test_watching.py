"""Facts about what holds back a watcher of tasks, and what watchers cost."""

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from polling import until
from postgres.servers import Server, embedded_programs, new_server
from swarm_persistence import PostgresStorage, TaskModel
from swarm_persistence.engines.following import BEFORE_ALL
from swarm_persistence.engines.sql.postgres import notifications
from swarm_persistence.engines.sql.postgres.compiler import NOTIFYING
from swarm_persistence.engines.sql.postgres.notifications import Notifications, channel_of
from swarm_persistence.engines.watches import Watches
from swarm_persistence.query.query import Query
from swarm_persistence.query.text import listed
from swarm_persistence.schema.tables import TASKS
from swarm_persistence.storage import ready_tasks
from swarm_persistence_conformance.callers import elsewhere
from swarm_persistence_conformance.records import a_task, an_agent, an_event, ids
from swarm_persistence_conformance.waiting import LIMIT_SECONDS


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """Give a server that prepares transactions and counts statements."""
    with new_server(
        embedded_programs(), max_prepared_transactions="10", shared_preload_libraries="pg_stat_statements"
    ) as server:
        yield server


@pytest_asyncio.fixture
async def stranger(server: Server) -> AsyncIterator[asyncpg.Connection]:
    """Give a connection that has nothing to do with the swarm, and a table of its own."""
    connection = await asyncpg.connect(server.url())
    await connection.execute("CREATE TABLE IF NOT EXISTS public.strange (number bigint)")
    yield connection
    await connection.close()


async def first(count: int, tasks: AsyncGenerator[TaskModel, None]) -> list[TaskModel]:
    """Return the first tasks that a watcher sees, which must come soon, and end it."""
    seen: list[TaskModel] = []
    async with aclosing(tasks), asyncio.timeout(LIMIT_SECONDS):
        while len(seen) < count:
            seen.append(await anext(tasks))
    return seen


@asynccontextmanager
async def idle_transaction(connection: asyncpg.Connection) -> AsyncIterator[None]:
    await connection.execute("BEGIN; INSERT INTO strange VALUES (1)")
    yield
    await connection.execute("ROLLBACK")


@asynccontextmanager
async def transaction_with_a_number_only(connection: asyncpg.Connection) -> AsyncIterator[None]:
    await connection.execute("BEGIN; SELECT pg_current_xact_id()")
    yield
    await connection.execute("ROLLBACK")


@asynccontextmanager
async def prepared_transaction(connection: asyncpg.Connection) -> AsyncIterator[None]:
    await connection.execute("BEGIN; INSERT INTO strange VALUES (1); PREPARE TRANSACTION 'strange'")
    yield
    await connection.execute("ROLLBACK PREPARED 'strange'")


@asynccontextmanager
async def new_index(connection: asyncpg.Connection) -> AsyncIterator[None]:
    await connection.execute("BEGIN; CREATE INDEX ON strange (number)")
    yield
    await connection.execute("ROLLBACK")


STRANGERS = [idle_transaction, transaction_with_a_number_only, prepared_transaction, new_index]


class TestStrangers:
    @pytest.mark.parametrize("open_one", STRANGERS)
    async def test_one_that_is_open_holds_back_no_watcher(
        self, storage: PostgresStorage, other: PostgresStorage, stranger: asyncpg.Connection, open_one: Any
    ) -> None:
        await storage.store_task(a_task("before"))
        async with open_one(stranger):
            await other.store_task(a_task("within"))
            watching = elsewhere(first(3, storage.watch_tasks()))
            await other.store_task(a_task("later"))

            assert ids(await watching) == ["before", "within", "later"]

    async def test_one_of_another_database_holds_back_no_watcher(
        self, storage: PostgresStorage, server: Server, stranger: asyncpg.Connection
    ) -> None:
        await stranger.execute("DROP DATABASE IF EXISTS elsewhere")
        await stranger.execute("CREATE DATABASE elsewhere")
        # With a swarm of its own, even: its tables may bear the same numbers.
        async with await PostgresStorage.open(server.url(database="elsewhere")) as foreign, foreign.transaction():
            await foreign.store_task(a_task("foreign"))
            await elsewhere(storage.store_task(a_task("own")))

            assert ids(await elsewhere(first(1, storage.watch_tasks()))) == ["own"]

    async def test_another_schema_of_the_database_holds_back_no_watcher(
        self, storage: PostgresStorage, server: Server
    ) -> None:
        async with await PostgresStorage.open(server.url(schema="tenant")) as tenant, tenant.transaction():
            await tenant.store_task(a_task("foreign"))
            await elsewhere(storage.store_task(a_task("own")))

            assert ids(await elsewhere(first(1, storage.watch_tasks()))) == ["own"]

    async def test_an_index_that_waits_for_a_reader_holds_back_no_watcher(
        self, storage: PostgresStorage, server: Server, schema: str, stranger: asyncpg.Connection
    ) -> None:
        await storage.store_task(a_task("before"))
        await stranger.execute(f"BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM {schema}.tasks")
        indexer = await asyncpg.connect(server.url())
        try:
            indexing = elsewhere(indexer.execute(f"CREATE INDEX CONCURRENTLY late ON {schema}.tasks (error)"))
            waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'virtualxid' AND NOT granted"
            await until(lambda: stranger.fetchval(waiting))
            await storage.store_task(a_task("within"))

            assert ids(await first(2, storage.watch_tasks())) == ["before", "within"]
            await stranger.execute("ROLLBACK")
            await indexing
        finally:
            await indexer.close()


class TestOwnWriters:
    async def test_one_that_wrote_something_else_first_is_waited_for(
        self, storage: PostgresStorage, other: PostgresStorage
    ) -> None:
        watching = elsewhere(first(2, storage.watch_tasks()))
        async with other.transaction():
            await other.store_agent(an_agent())
            await elsewhere(storage.store_task(a_task("newer")))
            await the_feed_has_polled(storage)
            await other.store_task(a_task("older"))

        assert ids(await watching) == ["older", "newer"]

    @pytest.mark.parametrize("depth", [1, 2])
    async def test_one_that_has_undone_its_first_writes_is_waited_for(
        self, storage: PostgresStorage, other: PostgresStorage, depth: int
    ) -> None:
        await storage.store_agent(agent := an_agent())
        watching = elsewhere(first(2, storage.watch_tasks()))
        async with other.transaction():
            nested = [await other.begin_transaction() for _ in range(depth)]
            # Not an insert: that would leave a lock on its sequence even when it is undone.
            await other.update_agent(agent)
            for transaction in reversed(nested):
                await transaction.rollback()
            await elsewhere(storage.store_task(a_task("newer")))
            await the_feed_has_polled(storage)
            await other.store_task(a_task("older"))

        assert ids(await watching) == ["older", "newer"]

    async def test_one_that_rolls_back_is_noticed_without_a_signal(
        self, storage: PostgresStorage, other: PostgresStorage
    ) -> None:
        watching = elsewhere(first(1, storage.watch_tasks()))
        transaction = await other.begin_transaction()
        await other.store_task(a_task("undone"))
        await elsewhere(storage.store_task(a_task("kept")))
        await the_feed_has_polled(storage)
        assert not watching.done()
        await transaction.rollback()

        assert ids(await watching) == ["kept"]

    async def test_a_prepared_one_is_waited_for(
        self, storage: PostgresStorage, schema: str, stranger: asyncpg.Connection
    ) -> None:
        await storage.store_task(a_task("prepared"))
        watching = elsewhere(first(3, storage.watch_tasks()))
        await stranger.execute(
            f"BEGIN; UPDATE {schema}.tasks SET error = 'late', change_number = pg_current_xact_id()::text::bigint; "
            "PREPARE TRANSACTION 'ours'"
        )
        await storage.store_task(a_task("newer"))
        await the_feed_has_polled(storage)
        await stranger.execute("COMMIT PREPARED 'ours'")

        assert [(task.id, task.error) for task in await watching] == [
            ("prepared", None), ("prepared", "late"), ("newer", None)
        ]  # fmt: skip

    async def test_the_last_version_of_each_task_comes_while_many_write(self, url: str) -> None:
        chance = random.Random(5)
        storages = [await PostgresStorage.open(url) for _ in range(4)]
        await storages[0].store_many([agent := an_agent(), *(a_task(str(number)) for number in range(12))])

        async def write(storage: PostgresStorage) -> None:
            for number in range(30):
                async with storage.transaction():
                    if chance.random() < 0.5:
                        nested = await storage.begin_transaction()
                        await storage.update_agent(agent, force=True)
                        await nested.rollback()
                    for _ in range(2):
                        task = await storage.get_task(str(chance.randrange(12)))
                        assert task is not None
                        task.payload = number
                        await storage.update_task(task, force=True)
                await storage.claim_next_task("agent-1", task_types=["none"])

        async def watch(storage: PostgresStorage) -> dict[str, TaskModel]:
            last: dict[str, TaskModel] = {}
            versions: set[tuple[str, int]] = set()
            async with aclosing(storage.watch_tasks()) as tasks, asyncio.timeout(60):
                async for task in tasks:
                    assert (task.id, task.version) not in versions
                    versions.add((task.id, task.version))
                    last[task.id] = task
                    if task.id == "the end":
                        return last
            raise AssertionError("the watch has ended")

        watching = [elsewhere(watch(storage)) for storage in storages for _ in range(3)]
        await asyncio.gather(*(elsewhere(write(s)) for s in storages), return_exceptions=True)  # deadlocks, for one
        await storages[0].store_task(a_task("the end"))
        stored = {task.id: task for task in await storages[0].repository(TaskModel).find_all()}

        assert [seen == stored for seen in await asyncio.gather(*watching)] == [True] * 12
        for storage in storages:
            await storage.close()


class TestNotifications:
    async def test_a_commit_wakes_the_watches_of_its_process_once_and_others_too(
        self, storage: PostgresStorage, other: PostgresStorage, schema: str, stranger: asyncpg.Connection,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        own, commits = storage._engine.watches, storage.watch_commits(TaskModel)
        heard, rings = await _listening(stranger, schema), []
        notify = Watches.notify

        def record(watches: Watches, names: Iterable[str] | None = None) -> None:
            if watches is own and names is not None:  # a poll names no tables
                rings.append(names)
            notify(watches, names)

        monkeypatch.setattr(Watches, "notify", record)
        await until_listening(storage)
        for writer in (storage, other, storage, other):
            before = len(heard)
            await writer.store_task(a_task(f"task-{before}"))
            await until(lambda: len(heard) > before)  # noqa: B023
        await until(lambda: len(rings) >= 4)

        assert len(rings) == 4
        commits.close()

    async def test_a_commit_whose_notification_is_lost_wakes_with_a_poll(
        self, storage: PostgresStorage, other: PostgresStorage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(notifications, "_BETWEEN_RARE_POLLS_SECONDS", 0.05)
        commits = storage.watch_commits(TaskModel)
        await until_listening(storage)
        await until(lambda: bool(_notifications_of(storage)._marks._seen))
        await commits.wait(0)  # the first poll wakes for what was committed before
        monkeypatch.setattr(_notifications_of(other), "send", lambda *_, **__: None)

        await other.store_tasks([a_task("one"), a_task("two")])  # a single one may be notified of within its commit

        async with asyncio.timeout(LIMIT_SECONDS):
            assert await commits.wait()
        commits.close()

    async def test_a_claim_and_what_follows_it_are_one_notification(
        self, storage: PostgresStorage, other: PostgresStorage, schema: str, stranger: asyncpg.Connection,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        heard = await _listening(stranger, schema)
        await other.store_task(a_task("task"))
        await until(lambda: len(heard) == 1)
        monkeypatch.setattr(notifications, "_BETWEEN_NOTIFICATIONS_SECONDS", 0.5)

        (task,) = await storage.claim_next_tasks("agent-1", limit=1)
        await storage.complete_task(task)
        await until(lambda: _notifications_of(storage)._sender is None)
        await until(lambda: len(heard) >= 2)
        await stranger.fetchval("SELECT 1")  # what was notified before comes before the answer

        assert heard == ["tasks"] * 2

    async def test_a_record_that_is_stored_after_a_pause_is_notified_of_by_its_own_commit(
        self, storage: PostgresStorage, schema: str, stranger: asyncpg.Connection, executed: list[tuple[str, Any]],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        monkeypatch.setattr(notifications, "_BETWEEN_NOTIFICATIONS_SECONDS", 60.0)
        heard = await _listening(stranger, schema)

        await storage.store_task(a_task("after a pause"))
        await storage.store_event(an_event("at once"))
        await stranger.fetchval("SELECT 1")  # what was notified before comes before the answer

        assert heard == ["tasks"]
        assert [values[-1] for text, values in executed if "INSERT" in text] == [True, False]
        assert not [text for text, _ in executed if "pg_notify(channel" in text]

    async def test_no_commit_waits_for_one_that_notifies(
        self, storage: PostgresStorage, schema: str, stranger: asyncpg.Connection, executed: list[tuple[str, Any]]
    ) -> None:
        heard = await _listening(stranger, schema)
        async with stranger.transaction():
            await stranger.execute(f"SELECT pg_advisory_xact_lock({NOTIFYING}::bigint << 32)")

            async with asyncio.timeout(LIMIT_SECONDS):
                await storage.store_task(a_task("beside it"))
            await until(lambda: [text for text, _ in executed if "pg_notify(channel" in text])
        await until(lambda: heard == ["tasks"])

    async def test_a_full_queue_of_notifications_fails_no_store(self) -> None:
        with new_server(embedded_programs(), max_notify_queue_pages="64") as server:
            # A session that listens, and is in a transaction, keeps the queue from being emptied.
            idle, busy = [await asyncpg.connect(server.url()) for _ in range(2)]
            await idle.execute("LISTEN strange")
            await idle.execute("BEGIN; SELECT 1")
            with pytest.raises(asyncpg.ProgramLimitExceededError):
                await busy.execute(
                    "SELECT count(pg_notify('strange', repeat('x', 7000) || n)) FROM generate_series(1, 100) AS n"
                )
            async with await PostgresStorage.open(server.url(schema="full")) as storage:
                await storage.store_task(a_task("1"))

                assert await storage.get_task("1") is not None
            for connection in (idle, busy):
                await connection.close()

    @pytest.mark.parametrize("quiet_seconds", [0.0, 60.0])
    async def test_a_worker_claims_after_a_pause_without_a_check(
        self, storage: PostgresStorage, other: PostgresStorage, statements: list[str], quiet_seconds: float,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        monkeypatch.setattr(ready_tasks, "_QUIET_SECONDS", quiet_seconds)
        watch = storage.watch_ready_tasks()
        waiting = asyncio.create_task(watch.wait_to_claim(LIMIT_SECONDS))
        await the_feed_has_polled(storage)
        await other.store_task(a_task("task"))

        assert await waiting
        assert any(text.startswith("SELECT id") for text in statements) is (quiet_seconds > 0)
        watch.close()


class TestCosts:
    async def test_a_commit_costs_the_same_for_one_watcher_and_for_200(
        self, storage: PostgresStorage, other: PostgresStorage, stranger: asyncpg.Connection
    ) -> None:
        await stranger.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
        await storage.store_task(a_task("0"))
        watchers = [storage.watch_tasks() for _ in range(200)]
        for watcher in watchers:
            assert (await anext(watcher)).id == "0"
        upcoming = [elsewhere(_next(watcher)) for watcher in watchers]
        await the_feed_has_polled(storage)
        await stranger.execute("SELECT pg_stat_statements_reset()")

        await other.store_task(a_task("1"))
        assert {task.id for task in await asyncio.gather(*upcoming)} == {"1"}

        reads = await stranger.fetchval(
            "SELECT sum(calls) FROM pg_stat_statements WHERE query LIKE '%change_number%' AND query LIKE '%SELECT id%'"
        )
        assert 1 <= reads <= 6  # each read measures the rows first
        assert len({id(task) for task in (await asyncio.gather(*upcoming))}) == 200
        for watcher in watchers:
            await watcher.aclose()

    async def test_watchers_that_are_held_back_poll_ever_more_rarely(
        self, storage: PostgresStorage, other: PostgresStorage, stranger: asyncpg.Connection
    ) -> None:
        await stranger.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
        watchers = [elsewhere(first(2, storage.watch_tasks())) for _ in range(20)]
        async with other.transaction():
            await other.store_task(a_task("older"))
            await elsewhere(storage.store_task(a_task("newer")))
            await stranger.execute("SELECT pg_stat_statements_reset()")
            await asyncio.sleep(1)
            calls = await stranger.fetchval("SELECT sum(calls) FROM pg_stat_statements WHERE query LIKE '%pg_locks%'")

        assert {tuple(ids(seen)) for seen in await asyncio.gather(*watchers)} == {("older", "newer")}
        assert calls < 40

    async def test_what_one_statement_wrote_comes_in_pages(
        self, storage: PostgresStorage, schema: str, stranger: asyncpg.Connection
    ) -> None:
        await storage.store_task(a_task("0", payload={"text": "x" * 100}))
        columns = listed(name for name in TASKS.names if name != "id")
        await stranger.execute(
            f"INSERT INTO {schema}.tasks (id, {columns}, change_number) "
            f"SELECT number::text, {columns}, pg_current_xact_id()::text::bigint "
            f"FROM {schema}.tasks CROSS JOIN generate_series(1, 300000) AS number"
        )
        seen, place = 0, BEFORE_ALL
        while True:
            page = await storage._engine.follow(Query(TASKS), place, 2000)
            assert len(page.rows) <= 2000
            seen, place = seen + len(page.rows), page.position
            if not page.is_full:
                break

        assert seen == 300_001

    async def test_a_watcher_that_takes_its_time_has_a_short_backlog_and_misses_nothing(
        self, storage: PostgresStorage
    ) -> None:
        await storage.store_task(a_task("0"))
        async with aclosing(storage.watch_tasks()) as tasks, asyncio.timeout(LIMIT_SECONDS):
            await anext(tasks)
            upcoming = elsewhere(_next(tasks))
            await the_feed_has_polled(storage)
            for start in range(1, 4000, 500):
                await storage.store_many([a_task(str(number)) for number in range(start, start + 500)])
            seen = [(await upcoming).id]
            feed = next(iter(storage._feeds._feeds.values()))
            await until(lambda: feed.is_unused)
            while len(seen) < 4000:
                seen.append((await anext(tasks)).id)

        assert seen == [str(number) for number in range(1, 4001)]


async def the_feed_has_polled(storage: PostgresStorage) -> None:
    """Wait until the reader of the tasks has read what was committed, and waits for more."""
    watches = storage._engine.watches._watches
    await until(lambda: watches and not any(watch._is_notified or not watch._waiters for watch in watches))


async def until_listening(storage: PostgresStorage) -> None:
    """Wait until the storage receives notifications."""
    await until(lambda: bool(_notifications_of(storage)._channels))


def _notifications_of(storage: PostgresStorage) -> Notifications:
    """Return the notifications of the storage's only event loop."""
    (resources,) = storage._engine.pools._loops.values()
    return resources.notifications


async def _listening(connection: asyncpg.Connection, schema: str) -> list[str]:
    """Return the list of the tables that are notified about from now on."""
    heard: list[str] = []
    await connection.add_listener(channel_of(schema), lambda *news: heard.append(str(news[-1])))
    return heard


async def _next(tasks: AsyncGenerator[TaskModel, None]) -> TaskModel:
    return await anext(tasks)
