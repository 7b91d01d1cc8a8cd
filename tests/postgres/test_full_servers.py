"""Facts about a server that has no further connection: what is open serves all calls, and each process gets one."""

import asyncio
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from polling import until
from postgres.servers import Server, embedded_programs, new_server
from swarm_persistence import PoolError, PostgresStorage, TaskStatus
from swarm_persistence_conformance.callers import elsewhere
from swarm_persistence_conformance.records import a_task


@pytest_asyncio.fixture
async def limited(url: str, schema: str, server: Server, admin: asyncpg.Connection) -> str:
    """Give the URL of a schema whose owner may have one connection."""
    role = f"limited_{schema}"
    await admin.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'x' CONNECTION LIMIT 1")
    await admin.execute(f"CREATE SCHEMA {schema} AUTHORIZATION {role}")
    return server.url(user=role, password="x", schema=schema)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def small() -> AsyncIterator[Server]:
    """Give a server of twenty connections, three of them for superusers."""
    with new_server(embedded_programs(), max_connections="20", superuser_reserved_connections="3") as server:
        admin = await asyncpg.connect(server.url())
        await admin.execute("CREATE ROLE common LOGIN PASSWORD 'x'; GRANT CREATE ON DATABASE postgres TO common")
        await admin.close()
        yield server


BUSY = """
import asyncio, sys
from swarm_persistence import PostgresStorage

async def main(url):
    async with await PostgresStorage.open(url) as storage:
        async def work(name):
            while (task := await storage.claim_next_task(name)) is not None:
                await asyncio.gather(*(storage.list_agents() for _ in range(3)))
                await storage.complete_task(task, name)
        await asyncio.gather(*(work(f"worker-{number}") for number in range(16)))

asyncio.run(main(*sys.argv[1:]))
"""


async def fill(server: Server, others: AsyncExitStack) -> None:
    """Take all connections that are left to common roles."""
    while True:
        try:
            connection = await asyncpg.connect(server.url(user="common", password="x"))
        except asyncpg.TooManyConnectionsError:
            return
        others.push_async_callback(connection.close)


async def has_ended(server: Server, process: int) -> None:
    """Return once a process of the server has ended: until then it takes one of the connections."""
    admin = await asyncpg.connect(server.url())
    is_gone = "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1)"
    await until(lambda: admin.fetchval(is_gone, process))
    await admin.close()


class TestOneConnection:
    async def test_all_calls_wait_in_line_for_it(self, limited: str) -> None:
        async with await PostgresStorage.open(f"{limited}&connection_timeout=20") as storage:
            calls: list[Coroutine[Any, Any, Any]] = [storage.store_task(a_task(str(number))) for number in range(20)]
            calls += [storage.claim_task(str(number), "agent-1") for number in range(20)]
            calls += [storage.get_pending_tasks() for _ in range(20)]
            async with asyncio.timeout(10):  # the line moves on: nothing waits for the server's next connection
                await asyncio.gather(*map(elsewhere, calls))

            assert storage.pool_status().active == 0

    async def test_a_limit_of_the_database_is_met_alike(self, server: Server, admin: asyncpg.Connection) -> None:
        for order in (
            "CREATE DATABASE narrow CONNECTION LIMIT 1",
            "CREATE ROLE narrow LOGIN PASSWORD 'x'",
            "GRANT CREATE ON DATABASE narrow TO narrow",
        ):
            await admin.execute(order)
        url = server.url(user="narrow", password="x", database="narrow", connection_timeout="20")
        async with await PostgresStorage.open(url) as storage:
            async with asyncio.timeout(10):
                await asyncio.gather(*(elsewhere(storage.claim_task(str(number), "a")) for number in range(40)))

    async def test_who_waits_too_long_for_it_is_told_why_there_is_no_other_one(self, limited: str) -> None:
        async with await PostgresStorage.open(f"{limited}&connection_timeout=0.5") as storage, storage.transaction():
            await storage.store_task(a_task())
            with pytest.raises(PoolError, match=r"the 1 open ones were in use.*no connection left.*role") as caught:
                await elsewhere(storage.get_pending_tasks())

        assert isinstance(caught.value.__cause__, asyncpg.TooManyConnectionsError)

    async def test_several_loops_lend_it_to_each_other(self, limited: str) -> None:
        async with await PostgresStorage.open(f"{limited}&connection_timeout=20") as storage:

            def store(thread: int) -> None:
                async def store_some() -> None:
                    for number in range(3):
                        await storage.store_task(a_task(f"{thread}-{number}"))

                asyncio.run(store_some())

            async with asyncio.timeout(20):
                await asyncio.gather(*(asyncio.to_thread(store, thread) for thread in range(3)))

            assert len(await storage.get_pending_tasks()) == 9

    async def test_a_worker_without_a_connection_to_listen_on_is_woken_all_the_same(
        self, limited: str, server: Server, schema: str
    ) -> None:
        async with (
            await PostgresStorage.open(limited) as storage,
            await PostgresStorage.open(server.url(schema=schema)) as other,
        ):
            waiting = elsewhere(storage.claim_next_task("agent-1", wait=20))
            await until(lambda: storage._engine._loop_engine().notifications._listener is not None)
            await other.store_task(a_task())
            task = await waiting

        assert task is not None
        assert task.status is TaskStatus.ASSIGNED


class TestFullServers:
    async def test_a_call_without_any_connection_waits_until_the_server_has_one(self, small: Server) -> None:
        url = small.url(user="common", password="x", schema="waits", connection_timeout="20")
        async with AsyncExitStack() as others:
            await fill(small, others)
            opening = elsewhere(PostgresStorage.open(url))
            done, _ = await asyncio.wait((opening,), timeout=0.3)
            assert not done
            await others.aclose()
            async with await opening as opened:
                await opened.store_task(a_task())

    async def test_it_is_told_the_cause_when_its_time_is_over(self, small: Server) -> None:
        # A loaded server may take a second to refuse a connection.
        url = small.url(user="common", password="x", schema="is_told", connection_timeout="5")
        async with await PostgresStorage.open(url) as storage, AsyncExitStack() as others:
            await fill(small, others)
            (connection,) = storage._engine._loop_engine().pool._idle
            process = connection.server_process
            connection.terminate()
            await has_ended(small, process)
            await fill(small, others)

            with pytest.raises(PoolError, match=rf"127.0.0.1:{small.port}: the server has no connection left"):
                await storage.list_agents()

    async def test_a_server_that_does_not_tell_how_full_it_is_is_used_all_the_same(self, small: Server) -> None:
        admin = await asyncpg.connect(small.url())
        await admin.execute("CREATE DATABASE hidden")
        await admin.close()
        admin = await asyncpg.connect(small.url(database="hidden"))
        await admin.execute("REVOKE SELECT ON pg_stat_activity FROM PUBLIC; GRANT CREATE ON DATABASE hidden TO common")
        await admin.close()
        url = small.url(user="common", password="x", database="hidden", max_connections="4")
        async with (
            await PostgresStorage.open(url) as storage,
            await PostgresStorage.open(url) as other,
        ):
            await asyncio.gather(*(elsewhere(storage.claim_task(str(number), "a")) for number in range(40)))
            assert storage._engine.pools.open_connections() == 4
            waiting = elsewhere(storage.claim_next_task("a", wait=20))
            await other.store_task(a_task())

            assert await waiting is not None

    async def test_many_busy_processes_share_few_connections_and_no_call_fails(self, small: Server) -> None:
        url = small.url(user="common", password="x", schema="shared", connection_timeout="20")
        async with await PostgresStorage.open(url) as storage:
            await storage.store_tasks([a_task(str(number)) for number in range(400)])
            programs = [
                await asyncio.create_subprocess_exec(sys.executable, "-c", BUSY, url, stderr=asyncio.subprocess.PIPE)
                for _ in range(8)
            ]
            ends = await asyncio.gather(*(program.communicate() for program in programs))

            assert [end[1].decode() for end in ends] == [""] * 8
            assert await storage.get_pending_tasks() == []

    async def test_a_pool_gives_connections_back_to_others_that_have_none(self, small: Server) -> None:
        url = small.url(user="common", password="x", schema="greedy", connection_timeout="20")
        is_over = False
        async with await PostgresStorage.open(f"{url}&max_connections=20") as greedy:

            async def use() -> None:
                while not is_over:
                    await greedy.claim_task("missing", "agent-1")

            users = [elsewhere(use()) for _ in range(40)]
            await until(lambda: greedy._engine.pools.open_connections() >= 10)
            async with AsyncExitStack() as stack:
                others = [await stack.enter_async_context(await PostgresStorage.open(url)) for _ in range(12)]
                await asyncio.gather(*(other.list_agents() for other in others))
                assert greedy._engine.pools.open_connections() <= 5
            is_over = True
            await asyncio.gather(*users)
