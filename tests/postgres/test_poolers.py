"""Facts about a PgBouncer in transaction mode between the storage and the server."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest
import pytest_asyncio

from postgres.poolers import new_pooler
from postgres.servers import Server
from swarm_persistence import PostgresStorage, TaskModel
from swarm_persistence_conformance.callers import elsewhere
from swarm_persistence_conformance.records import a_task, an_agent, an_event, complete_records, everything_in, ids


@pytest_asyncio.fixture
async def pooled(server: Server, schema: str) -> AsyncIterator[PostgresStorage]:
    """Give a storage behind a pooler of three connections, which all of its own sixteen share."""
    async with new_pooler(server) as url, await PostgresStorage.open(f"{url}?schema={schema}") as storage:
        yield storage


class TestPoolers:
    async def test_it_is_noticed(self, pooled: PostgresStorage, storage: PostgresStorage) -> None:
        assert not pooled._engine.pools.connector.owns_sessions
        assert storage._engine.pools.connector.owns_sessions

    async def test_every_kind_of_record_comes_back(self, pooled: PostgresStorage) -> None:
        await pooled.store_many(complete_records())

        assert all((await everything_in(pooled)).values())

    async def test_many_callers_at_once_share_the_poolers_connections(self, pooled: PostgresStorage) -> None:
        async def use(number: int) -> None:
            await pooled.store_task(a_task(str(number)))
            await pooled.store_agent(an_agent(str(number)))
            assert await pooled.claim_task(str(number), f"agent-{number}")
            assert ids(await pooled.get_tasks_by_agent(f"agent-{number}")) == [str(number)]
            await pooled.delete_agent(str(number))

        for round in range(3):
            await asyncio.gather(*(elsewhere(use(100 * round + number)) for number in range(30)))

        assert len(await pooled.repository(TaskModel).find_all()) == 90

    async def test_transactions_and_their_savepoints_hold(self, pooled: PostgresStorage) -> None:
        async def transact(number: int) -> None:
            async with pooled.transaction():
                await pooled.store_task(a_task(f"{number}-kept"))
                nested = await pooled.begin_transaction()
                await pooled.store_task(a_task(f"{number}-undone"))
                await nested.rollback()

        await asyncio.gather(*(elsewhere(transact(number)) for number in range(12)))

        found = ids(await pooled.get_pending_tasks())
        assert sorted(found) == sorted(f"{number}-kept" for number in range(12))

    async def test_two_processes_behind_one_pooler_do_not_meet_each_others_statements(
        self, pooled: PostgresStorage, server: Server
    ) -> None:
        async with new_pooler(server) as url:
            first, second = [await PostgresStorage.open(f"{url}?schema=shared_pool") for _ in range(2)]
            await asyncio.gather(
                *(each.store_event(an_event(f"{number}-{place}")) for number in range(50)
                  for place, each in enumerate((first, second)))
            )  # fmt: skip
            assert len(await first.get_events_since(0)) == 100
            await asyncio.gather(first.close(), second.close())

    @pytest.mark.parametrize("use", ["auto", "on"])
    async def test_the_sessions_of_other_clients_stay_as_they_are(self, server: Server, schema: str, use: str) -> None:
        # With one connection of the pooler, what is prepared there is never missing.
        async with new_pooler(server, size=1) as url:
            async with await PostgresStorage.open(f"{url}?schema={schema}&prepared_statements={use}") as storage:
                await storage.store_task(a_task())
                async with storage.transaction():
                    await storage.store_task(a_task("2"))
            client = await asyncpg.connect(url, statement_cache_size=0)
            text = "SELECT current_setting('lock_timeout'), current_setting('idle_in_transaction_session_timeout')"
            limits = await client.fetchrow(text)
            await client.close()

        assert limits is not None
        assert [*limits] == ["0", "0"]

    async def test_a_commit_behind_the_pooler_wakes_who_waits_there(
        self, pooled: PostgresStorage, server: Server, schema: str
    ) -> None:
        # LISTEN cannot work there: the storage looks instead.
        async with await PostgresStorage.open(server.url(schema=schema)) as elsewhere_stored:
            waiting = elsewhere(pooled.claim_next_task("agent-1", wait=20))
            await asyncio.sleep(0)
            await elsewhere_stored.store_task(a_task())
            task = await waiting

        assert task is not None
        assert task.id == "task-1"
