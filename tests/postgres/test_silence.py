"""Facts about a server that falls silent while its connections stay open: an answer in time, and a true one."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest
import pytest_asyncio

from polling import until
from postgres.conftest import a_lock_is_waited_for
from postgres.proxies import Proxy
from swarm_persistence import ConflictError, OutcomeUnknownError, PoolError, PostgresStorage, StorageError
from swarm_persistence_conformance.callers import elsewhere
from swarm_persistence_conformance.records import a_task, an_agent, ids


@pytest_asyncio.fixture
async def impatient(proxy: Proxy, schema: str) -> AsyncIterator[PostgresStorage]:
    """Give a storage behind the proxy that does not wait for long, with several connections open."""
    url = proxy.url(schema=schema, connection_timeout=2, operation_timeout=0.5, max_connections=8)
    async with await PostgresStorage.open(url) as storage:
        async with asyncio.timeout(20):
            # The pool grows beside the calls, and they may be done before it is that large.
            while storage.pool_status().idle <= 5:
                await asyncio.gather(*(storage.claim_task(str(number), "agent-1") for number in range(50)))
        yield storage


class TestOpening:
    @pytest.mark.parametrize("words", ["pg_backend_pid", "SET search_path", "schema_migrations", "CREATE INDEX"])
    async def test_a_server_that_falls_silent_while_it_is_opened_is_given_up(
        self, proxy: Proxy, schema: str, words: str
    ) -> None:
        proxy.fatal_words = words.encode()
        url = proxy.url(schema=schema, connection_timeout=1, operation_timeout=0.5)

        async with asyncio.timeout(20):
            with pytest.raises(StorageError, match=f"127.0.0.1:{proxy.port}: no answer"):
                await PostgresStorage.open(url)


class TestWrites:
    async def test_a_store_whose_answer_is_lost_says_that_its_outcome_is_unknown(
        self, impatient: PostgresStorage, proxy: Proxy, admin: asyncpg.Connection, schema: str
    ) -> None:
        proxy.fatal_words = b"task-1"

        with pytest.raises(OutcomeUnknownError, match=f"127.0.0.1:{proxy.port}.*read it back"):
            await impatient.store_task(a_task("task-1"))
        assert await admin.fetchval(f"SELECT count(*) FROM {schema}.tasks") == 1

    async def test_so_does_a_store_of_many(self, impatient: PostgresStorage, proxy: Proxy) -> None:
        proxy.fatal_words, proxy.are_words_fatal_to_all = b"COMMIT\0", True  # not COMMITTED, as in BEGIN

        with pytest.raises(OutcomeUnknownError, match="read it back"):
            await impatient.store_many([a_task("1"), an_agent("2")])

    async def test_a_store_is_done_again_on_a_new_connection_and_stored_once(
        self, impatient: PostgresStorage, proxy: Proxy
    ) -> None:
        proxy.silence()

        await impatient.store_task(a_task("1"))
        proxy.silence()
        await impatient.store_many([a_task("2"), an_agent("2")])

        assert ids(await impatient.get_pending_tasks()) == ["1", "2"]

    async def test_who_stores_a_known_id_is_told_so_all_the_same(
        self, impatient: PostgresStorage, proxy: Proxy
    ) -> None:
        await impatient.store_task(a_task("1", payload="first"))
        proxy.silence()

        outcomes = await asyncio.gather(
            *(elsewhere(impatient.store_task(a_task(id, payload="second"))) for id in "123"), return_exceptions=True
        )

        assert [isinstance(outcome, ConflictError) for outcome in outcomes] == [True, False, False]
        assert ids(await impatient.get_pending_tasks()) == ["1", "2", "3"]

    async def test_many_that_store_at_once_wait_no_longer_than_one(
        self, impatient: PostgresStorage, proxy: Proxy
    ) -> None:
        proxy.is_silent = True
        before = proxy.accepted

        outcomes = await asyncio.gather(
            *(elsewhere(impatient.store_task(a_task(str(number)))) for number in range(100)), return_exceptions=True
        )

        assert {type(outcome) for outcome in outcomes} == {OutcomeUnknownError}
        assert proxy.accepted - before < 10  # a few tries, not some for each


class TestReads:
    async def test_a_read_is_done_again_on_a_new_connection(self, impatient: PostgresStorage, proxy: Proxy) -> None:
        await impatient.store_task(a_task("1"))
        proxy.silence()

        assert ids(await impatient.get_pending_tasks()) == ["1"]

    async def test_one_silence_is_enough_to_give_up_all_idle_connections(
        self, impatient: PostgresStorage, proxy: Proxy
    ) -> None:
        await impatient.store_task(a_task("1"))
        proxy.silence()
        await impatient.list_agents()

        assert await impatient.claim_task("1", "agent-1")  # whose answer would be lost on an old one

    async def test_a_server_that_stays_silent_is_given_up(self, impatient: PostgresStorage, proxy: Proxy) -> None:
        proxy.is_silent = True

        with pytest.raises(PoolError, match=f"127.0.0.1:{proxy.port}: no answer"):
            await impatient.list_agents()


class TestLongWork:
    async def test_a_vacuum_may_take_long_while_the_server_works_on_it(
        self, impatient: PostgresStorage, proxy: Proxy, rival: asyncpg.Connection, admin: asyncpg.Connection
    ) -> None:
        async with rival.transaction():
            await rival.execute("LOCK TABLE tasks IN SHARE UPDATE EXCLUSIVE MODE")
            vacuum = elsewhere(impatient.vacuum())
            await a_lock_is_waited_for(admin)
            before = proxy.accepted
            await until(lambda: proxy.accepted >= before + 3)  # each look is a connection
            assert not vacuum.done()
        await vacuum

    async def test_one_whose_answer_does_not_come_is_done_again(
        self, impatient: PostgresStorage, proxy: Proxy, rival: asyncpg.Connection, admin: asyncpg.Connection
    ) -> None:
        async with rival.transaction():
            await rival.execute("LOCK TABLE tasks IN SHARE UPDATE EXCLUSIVE MODE")
            vacuum = elsewhere(impatient.vacuum())
            await a_lock_is_waited_for(admin)
            proxy.silence()

        async with asyncio.timeout(20):
            await vacuum

    async def test_a_server_that_falls_silent_in_a_checkpoint_is_given_up(
        self, impatient: PostgresStorage, proxy: Proxy
    ) -> None:
        proxy.fatal_words, proxy.are_words_fatal_to_all = b"CHECKPOINT", True

        async with asyncio.timeout(20):
            with pytest.raises(PoolError, match="no answer"):
                await impatient.checkpoint()

    async def test_so_is_one_that_falls_silent_in_a_migration(self, impatient: PostgresStorage, proxy: Proxy) -> None:
        proxy.fatal_words, proxy.are_words_fatal_to_all = b"DROP TABLE", True

        async with asyncio.timeout(20):
            with pytest.raises(PoolError, match="no answer"):
                await impatient.migrate_to(0)


class TestListening:
    async def test_who_listens_to_a_server_that_falls_silent_listens_anew(
        self, impatient: PostgresStorage, proxy: Proxy, storage: PostgresStorage
    ) -> None:
        proxy.fatal_words = b"LISTEN"
        waiting = elsewhere(impatient.claim_next_task("agent-1", wait=30))
        before = proxy.accepted
        await until(lambda: proxy.accepted >= before + 2)  # each try is a connection
        async with asyncio.timeout(20):
            proxy.fatal_words = None
            await storage.store_task(a_task("1"))

            task = await waiting
        assert task is not None
        assert task.id == "1"
